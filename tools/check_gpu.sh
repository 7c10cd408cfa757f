#!/usr/bin/env bash
# What only a machine with a GPU can check, in less than 8 minutes, with the interpreter at hand: no .venv and no registry.
# Every part runs, whichever fails; the failed ones stand at the end of the log, and the script then exits with 1.
#   PYTHON   the interpreter (default: python3)
#   GPU_LOG  the log (default: runs/gpu.log; an earlier one is replaced)
#   DEVICE   cuda:0, or cpu to see on a machine without a GPU that the parts themselves are sound (default: cuda:0)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3} log=${GPU_LOG:-runs/gpu.log} device=${DEVICE:-cuda:0}
export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
mkdir -p "$(dirname "$log")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=() whole=470 # seconds

diptych=("$python" -c 'from diptych.cli import main; raise SystemExit(main())')
if [ "$device" = cpu ]; then
    export DIPTYCH_GPU_TESTS=cpu
    whole=3600 patience=8 # times as long for each part
    cases=(--case cyclegan,32,1 --width 4 --seconds 0.1)
    small=(--method.ngf 4 --method.ndf 4 --train.epochs 1 --train.decay_epochs 0)
else
    patience=1
    cases=(--case cyclegan,256,1 --case pix2pix,256,1 --case cyclegan,256,16 --seconds 3)
    small=(--train.epochs 2 --train.decay_epochs 2)
fi

part() {  # NAME SECONDS COMMAND...
    local name=$1 limit=$(($2 * patience)) left=$((whole - SECONDS)) began=$SECONDS code=0
    shift 2
    printf '\n=== %s: %s\n' "$name" "$*"
    if [ "$left" -lt 5 ]; then
        echo "--- $name: no time left" && failed+=("$name (no time left)")
        return
    fi
    timeout -k 5 "$((limit < left ? limit : left))" "$@" </dev/null || code=$?
    echo "--- $name: exit $code after $((SECONDS - began)) s"
    [ "$code" = 0 ] || failed+=("$name (exit $code$([ "$code" = 124 ] && echo ', out of time'))")
}

all_parts() {
    local run=$scratch/run snapshot=$scratch/run/snapshot.safetensors tiles=src/diptych/data/relief
    date -u '+%F %T UTC'
    git log -1 --format='commit %h: %s' 2>/dev/null
    env | grep -i tf32 # NVIDIA_TF32_OVERRIDE=1 rounds what must be exact, and no program can undo it
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null
    part "tests" 140 "$python" -m pytest -p no:cacheprovider -W default -q --durations=10 --tb=short tests/gpu
    part "training" 70 "${diptych[@]}" train relief --out "$run" --device "$device" --no-test --previews 2 "${small[@]}"
    part "translate" 30 "${diptych[@]}" translate "$snapshot" "$tiles/testA" --out "$scratch/out" --device "$device"
    part "evaluate" 40 "${diptych[@]}" evaluate "$run" --device "$device" --metrics psnr,ssim,kid --no-fetch
    part "doctor" 20 "${diptych[@]}" doctor "$run"
    part "export to TorchScript" 30 "${diptych[@]}" export "$snapshot" --to torchscript --out "$scratch/net.pt"
    if "$python" -c 'import onnx, onnxruntime' 2>/dev/null; then
        part "export to ONNX" 30 "${diptych[@]}" export "$snapshot" --to onnx --out "$scratch/net.onnx"
    else
        printf '\n--- export to ONNX: left out, as onnx or onnxruntime is not installed\n'
    fi
    part "step" 110 "$python" -m benchmarks.step --device "$device" "${cases[@]}"
    part "smoke" 170 "$python" -m benchmarks.smoke "$device"
    printf '\n=== summary after %s s\n' "$SECONDS"
    if [ ${#failed[@]} -gt 0 ]; then
        printf 'FAILED: %s\n' "${failed[@]}"
        return 1
    fi
    echo "every part ran"
}

all_parts 2>&1 | tee "$log"
