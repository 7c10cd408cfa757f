"""Small scores for tests, as MusicXML, and as files of every kind."""

import io
import zipfile

DIVISIONS = 24
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<score-partwise version="4.0">'
CONTAINER = '<container><rootfiles><rootfile full-path="score.xml"/></rootfiles></container>'
TYPES = {24 * 4: "whole", 48: "half", 24: "quarter", 12: "eighth", 6: "16th", 3: "32nd"}


def note(pitch, quarters, *, tie="", staff=1, accidental="", voice=1, extra=""):
    """One note (such as "f#5"), or a rest for None, of so many quarters."""
    ticks = round(quarters * DIVISIONS)
    dots = "" if ticks in TYPES else "<dot/>"
    ties = "".join(f'<tie type="{kind}"/>' for kind in tie.split())
    tied = "".join(f'<tied type="{kind}"/>' for kind in tie.split())
    tied = f"<notations>{tied}</notations>" if tie else ""
    sound = "<rest/>"
    if pitch:
        alter = {"#": 1, "b": -1}.get(pitch[1:-1], 0)
        sound = f"<pitch><step>{pitch[0].upper()}</step><alter>{alter}</alter><octave>{pitch[-1]}</octave></pitch>"
    mark = f"<accidental>{accidental}</accidental>" if accidental else ""
    kind = TYPES.get(ticks) or TYPES[ticks * 2 // 3]
    inside = f"{sound}<duration>{ticks}</duration>{ties}<voice>{voice}</voice><type>{kind}</type>{dots}{mark}"
    return f"<note>{extra}{inside}<staff>{staff}</staff>{tied}</note>"


def score(*parts, composer="A. Composer"):
    """A score of parts, each a list of measures of XML; the first measure of each begins with attributes()."""
    names = "".join(f'<score-part id="P{k}"><part-name>P{k}</part-name></score-part>' for k, _ in enumerate(parts))
    measures = ["".join(f'<measure number="{n}">{m}</measure>' for n, m in enumerate(part, 1)) for part in parts]
    bodies = "".join(f'<part id="P{k}">{inside}</part>' for k, inside in enumerate(measures))
    who = f'<identification><creator type="composer">{composer}</creator></identification>'
    return f"{HEAD}{who}<part-list>{names}</part-list>{bodies}</score-partwise>"


def attributes(*, fifths=0, beats=4, clefs=(("G", 2),)):
    """The attributes of a part's first measure."""
    staves = f"<staves>{len(clefs)}</staves>" if len(clefs) > 1 else ""
    signs = "".join(f'<clef number="{n}"><sign>{s}</sign><line>{at}</line></clef>' for n, (s, at) in enumerate(clefs, 1))
    time = f"<time><beats>{beats}</beats><beat-type>4</beat-type></time>"
    return f"<attributes><divisions>{DIVISIONS}</divisions><key><fifths>{fifths}</fifths></key>{time}{staves}{signs}</attributes>"


def melody(shift=0, measures=6, fifths=1):
    """One staff in G major, with a tie over a bar line and an accidental out of the key."""
    letters = "gabcdef"
    found = []
    for k in range(measures):
        pitches = [letters[(j + k + shift) % 7] for j in range(4)]
        names = [f"{p}{'#' if p == 'f' and fifths else ''}{4 if p in 'gab' else 5}" for p in pitches]
        bar = "".join(note(name, 1) for name in names[:3])
        bar += note("c#5", 0.5, accidental="sharp") + note(None, 0.5) if k % 3 == 1 else note(names[3], 1)
        found.append((attributes(fifths=fifths) if not k else "") + bar)
    return found


def mxl(text):
    """The bytes of a compressed MusicXML file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("score.xml", text)
    return buffer.getvalue()
