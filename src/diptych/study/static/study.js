// The participants' page: shows pictures for an exact time, counted in the screen's own frames, and sends each answer until it is acknowledged.

const words = JSON.parse(document.getElementById("words").textContent);
const $ = (id) => document.getElementById(id);
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const GAP_BEFORE = 900, GAP_BETWEEN = 600; // milliseconds, those of the authors' own page
const OUTBOX = "diptych-answer", BEFORE = "diptych-took-part";

class Refusal extends Error {}

// A request that is repeated until the server answers it. Only a refusal (4xx) ends it without a result.
async function call(path, body) {
  for (let wait = 500; ; wait = Math.min(wait * 2, 15000)) {
    try {
      const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
      const response = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(20000) });
      if (response.ok) {
        const value = await response.json();
        say("");
        return value;
      }
      if (response.status >= 400 && response.status < 500 && response.status !== 429) {
        const value = await response.json().catch(() => ({}));
        throw new Refusal(value.error || "problem");
      }
    } catch (error) {
      if (error instanceof Refusal) throw error;
    }
    say(path === "/api/answer" ? words.sending : words.waiting);
    await sleep(wait * (0.75 + Math.random() / 2));
  }
}

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

// Whether this window shows pictures smaller than they are, as phones do.
function tooSmall() {
  const place = document.querySelector("#stage .frame");
  only("trial");
  return place.getBoundingClientRect().width < place.dataset.width - 1;
}

function only(id) {
  for (const name of ["welcome", "pause", "trial", "done"]) $(name).hidden = name !== id;
  document.body.classList.toggle("running", id === "trial");
}

// The browser's storage may be switched off; then a reload can lose the one answer that is not acknowledged yet.
function keep(answer) {
  try {
    if (answer) localStorage.setItem(OUTBOX, JSON.stringify(answer));
    else localStorage.removeItem(OUTBOX);
  } catch { /* see above */ }
}

function kept() {
  try {
    return JSON.parse(localStorage.getItem(OUTBOX));
  } catch {
    return null;
  }
}

// Whether this browser took part before, which it remembers even when its cookies are cleared.
function tookPart() {
  try {
    return localStorage.getItem(BEFORE) !== null;
  } catch {
    return false;
  }
}

function rememberTakingPart() {
  try {
    localStorage.setItem(BEFORE, "yes");
  } catch { /* then invitations alone can tell */ }
}

async function pause(text) {
  $("pause-text").textContent = text;
  only("pause");
  $("pause-button").focus();
  await new Promise((resolve) => $("pause-button").addEventListener("click", resolve, { once: true }));
}

// Load and decode a trial's pictures into their frames, hidden; the input, which is seen all the time, is the last.
async function load(trial, count, input) {
  const frames = [...document.querySelectorAll("#stage .frame")].slice(0, count);
  document.querySelectorAll("#stage figcaption").forEach((caption) => (caption.textContent = ""));
  if (input) frames.push(document.querySelector("#input .frame"));
  return Promise.all(frames.map(async (place, index) => {
    for (let wait = 500; ; wait = Math.min(wait * 2, 15000)) {
      const image = new Image();
      image.alt = "";
      image.src = `/picture/${trial}/${index}`;
      try {
        await image.decode();
        place.replaceChildren(image);
        return image;
      } catch {
        const response = await fetch(image.src, { cache: "no-store" }).catch(() => null);
        if (response?.status === 403) throw new Refusal("problem"); // another tab answered this trial
        say(words.waiting);
        await sleep(wait);
      }
    }
  }));
}

// Wait in frames, and collect the times between them to learn how long a frame of this screen is.
async function gap(ms, periods) {
  const first = await frame();
  for (let last = first, now; last - first < ms; last = now) {
    now = await frame();
    if (now > last) periods.push(now - last);
  }
}

// Show a picture for ms milliseconds: from one frame to the frame nearest to the end. Returns the time that it really was shown.
async function show(image, ms, period) {
  const start = await frame();
  image.classList.add("on");
  let now = start;
  while (now - start < ms - period / 2) now = await frame();
  image.classList.remove("on");
  return now - start;
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] || 1000 / 60;

async function answerTo(question) {
  $("question").textContent = question;
  $("answers").hidden = false;
  $("question").focus();
  const start = performance.now();
  const buttons = [...document.querySelectorAll("#answers button")];
  const answer = await new Promise((resolve) => {
    const done = new AbortController();
    const choose = (button) => { done.abort(); resolve(button.dataset.answer); };
    buttons.forEach((button) => button.addEventListener("click", () => choose(button), { signal: done.signal }));
    document.addEventListener("keydown", (event) => {
      const index = ["ArrowLeft", "ArrowRight"].indexOf(event.key);
      if (index < 0 || event.repeat || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      choose(buttons[index]);
    }, { signal: done.signal });
  });
  const ms = performance.now() - start;
  $("answers").hidden = true;
  $("question").textContent = "";
  return [answer, ms];
}

async function run(state) {
  const { trial, rules } = state;
  only("trial");
  $("question").textContent = words.loading;
  const part = trial.part === "practice" ? "practice_of" : "trial_of";
  $("progress").textContent = fill(words[part], { n: trial.place, total: trial.of });
  const loaded = await load(trial.number, trial.pictures, trial.input);
  const images = loaded.slice(0, trial.pictures);
  loaded.slice(trial.pictures).forEach((image) => image.classList.add("on"));
  say("");
  $("question").textContent = words.watch;
  let interrupted = document.hidden;
  const watch = () => { interrupted ||= document.hidden; };
  document.addEventListener("visibilitychange", watch);
  const periods = [], shown = [];
  for (const [index, image] of images.entries()) {
    await gap(index ? GAP_BETWEEN : GAP_BEFORE, periods);
    shown.push(await show(image, rules.show_ms, median(periods)));
  }
  document.removeEventListener("visibilitychange", watch);
  const question = rules.kind === "single" ? words.ask_single : words[`ask_${rules.question}`];
  const [answer, response] = await answerTo(question);
  const sent = {
    participant: state.withdraw, trial: trial.number, answer, key: crypto.getRandomValues(new Uint32Array(4)).join("-"),
    shown_ms: shown, frame_ms: median(periods), response_ms: response, interrupted,
  };
  keep(sent);
  const next = await call("/api/answer", sent);
  keep(null);
  if (next.feedback) await feedback(images, next.feedback);
  return next;
}

async function feedback(images, told) {
  images.forEach((image) => image.classList.add("on"));
  document.querySelectorAll("#stage figcaption").forEach((caption, index) => (caption.textContent = words[told.sources[index]]));
  $("question").textContent = told.correct ? words.correct : words.incorrect;
  $("verdict").hidden = false;
  $("next").focus();
  await new Promise((resolve) => $("next").addEventListener("click", resolve, { once: true }));
  $("verdict").hidden = true;
  images.forEach((image) => image.classList.remove("on"));
}

function finish(state) {
  $("withdraw").textContent = state.withdraw;
  only("done");
}

async function join() {
  if (tooSmall()) say(words.small);
  only("welcome");
  const form = $("welcome");
  for (;;) {
    await new Promise((resolve) => form.addEventListener("submit", (event) => { event.preventDefault(); resolve(); }, { once: true }));
    const { language, consent } = document.body.dataset;
    try {
      return await call("/api/join", { language, consent, code: $("code")?.value ?? "", again: tookPart() });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      say(words[`${error.message}_code`] || words.problem);
      $("message").scrollIntoView({ block: "center" });
    }
  }
}

async function main() {
  for (const place of document.querySelectorAll(".frame")) {
    place.style.setProperty("--width", `${place.dataset.width}px`);
    place.style.setProperty("--ratio", `${place.dataset.width} / ${place.dataset.height}`);
  }
  let state = await call("/api/state");
  const waiting = kept();
  if (waiting && state.withdraw === waiting.participant) {
    try {
      state = await call("/api/answer", waiting);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error; // it had arrived, or another tab answered
    }
  }
  keep(null);
  if (state.status === "new") state = await join();
  rememberTakingPart();
  if (state.status === "running" && state.trial.number) await pause(words.resume);
  while (state.status === "running") {
    const before = state.trial.part;
    try {
      state = await run(state);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      state = await call("/api/state"); // another tab answered this trial
    }
    if (state.status === "running" && before === "practice" && state.trial.part !== "practice") await pause(words.break);
  }
  if (state.status === "done") finish(state);
  else location.reload(); // the participation was erased, or the browser's cookies were
}

main().catch(() => say(words.problem));
