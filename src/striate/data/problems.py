"""What can be wrong with labelled data: one table of codes, used by the readers that meet it and by the doctor.

A reader never drops an annotation in silence: what it cannot use, or uses with a doubt, is a :class:`Problem` in its
:class:`~striate.data.collection.Collection`. The doctor adds what only the decoded samples show.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From worst to mildest: an error spoils training or its figures, a warning may, a note is only to be known."""


class Meaning(NamedTuple):
    """What a code means: how bad it is, in a few words what it is, and what to do about it."""

    severity: Severity
    title: str
    fix: str


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: its code (a key of :data:`CODES`), the file or sample, and what exactly.

    ``file`` is a path inside the data set (with ``:line`` where one is known). Errors: ``KeyError`` for no such code.
    """

    code: str
    file: str
    detail: str = ""

    def __post_init__(self) -> None:
        CODES[self.code]

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return CODES[self.code].severity


CODES: dict[str, Meaning] = {
    # files
    "unreadable": Meaning("error", "files that cannot be read", "replace or remove them"),
    "truncated": Meaning("error", "images that end too early", "copy them again from their source, or remove them"),
    "skipped": Meaning("warning", "files that are no samples", "move them out of the data set if they are not meant"),
    "not-a-sample": Meaning("note", "documents beside the samples, passed over", "nothing needs to be done"),
    "not-finite": Meaning("error", "samples with NaN or infinite values", "correct or remove them"),
    "duplicate": Meaning("warning", "the same file more than once", "keep one of each"),
    "near-duplicate": Meaning(
        "note", "nearly the same image more than once", "right for the frames of a film; else keep one"
    ),
    "duplicate-labels-differ": Meaning("error", "the same sample with different labels", "decide which label is right"),
    "leak": Meaning("error", "the same sample in two splits", "remove it from one of them: its score is no test"),
    "near-leak": Meaning("warning", "nearly the same sample in two splits", "look at them; keep them in one split"),
    "group-split": Meaning("error", "groups divided between splits", "move each group into one split"),
    # labels and files that belong together
    "image-without-label": Meaning("warning", "images without a label", "label them, or move them away"),
    "label-without-image": Meaning("error", "labels whose image is missing", "restore the image, or remove the label"),
    "listed-missing": Meaning("error", "samples of a split list that do not exist", "correct the list"),
    "listed-twice": Meaning("warning", "samples that two splits list, kept in one", "keep each in one list"),
    "not-in-a-split": Meaning("warning", "samples that no split lists", "add them to a list, or remove them"),
    "label-unreadable": Meaning("error", "label files that cannot be read", "correct or remove them"),
    "annotation-malformed": Meaning("error", "annotations that make no sense, left out", "correct the line named"),
    "twice-labelled": Meaning("error", "samples that are labelled twice", "keep one label file"),
    "size-declared-wrong": Meaning("warning", "another size declared than the image has", "correct the declared size"),
    # classes
    "class-undeclared": Meaning("error", "class ids that are not declared", "declare the class, or correct the id"),
    "class-unused": Meaning("note", "classes declared and never used", "remove the class, or add samples of it"),
    "class-offset": Meaning("error", "class ids that seem shifted by one", "check from which number ids are counted"),
    "class-names-alike": Meaning("warning", "class names that differ only in case or spaces", "use one spelling"),
    "class-missing-in-split": Meaning("warning", "classes that a split lacks", "move samples of it into the split"),
    "class-never-trained": Meaning(
        "warning", "classes that are tested but not in the training split", "move samples of it into the training split"
    ),
    "class-rare": Meaning("warning", "classes with very few samples", "add samples, or join classes"),
    "imbalance": Meaning("warning", "classes of very unequal size", "weigh the loss (balance), or add samples"),
    # boxes
    "box-empty": Meaning("error", "boxes without any area", "correct or remove them"),
    "box-inverted": Meaning("error", "boxes whose corners are swapped", "swap the corners"),
    "box-outside": Meaning("error", "boxes that lie outside their image", "correct or remove them"),
    "box-beyond": Meaning("warning", "boxes that reach beyond their image", "cut them at the edge"),
    "box-tiny": Meaning("note", "boxes under 4 pixels", "train at a larger size, or leave them out"),
    "box-duplicate": Meaning("warning", "the same box twice", "keep one"),
    "box-two-classes": Meaning("warning", "boxes that carry two classes", "decide which class is right"),
    "box-whole-image": Meaning("note", "boxes that cover the whole image", "check that they are meant"),
    "no-boxes": Meaning("note", "images without any box", "right if nothing is there; else label them"),
    # masks
    "mask-values": Meaning("error", "masks with values that are no class", "correct them, or declare void"),
    "mask-size": Meaning("error", "masks of another size than their image", "export the mask at the image's size"),
    "mask-background": Meaning(
        "warning", "masks that are all background", "right if nothing is there; else label them"
    ),
    "mask-void": Meaning("warning", "masks that are nothing but void", "label them, or remove them"),
    "mask-lossy": Meaning("error", "masks stored as JPEG", "export them as PNG: JPEG changes the values"),
    "mask-scaled": Meaning("note", "masks of 0 and 255, read as two classes", "nothing needs to be done"),
    # images
    "orientation": Meaning("note", "photos with an EXIF orientation, which is applied", "nothing needs to be done"),
    "mixed-sizes": Meaning("note", "images of different sizes", "nothing: they are brought to one size"),
    "mixed-channels": Meaning("warning", "grey and colour images mixed", "check that the grey ones are meant"),
    "mixed-bits": Meaning("warning", "images of different bit depths", "bring them to one depth"),
    "mixed-proportions": Meaning("note", "images of very different proportions", "look at what a square cuts off"),
    "constant-image": Meaning("warning", "images of one single value", "remove them"),
    "format-mismatch": Meaning("note", "files whose content is of another format than their name", "rename them"),
    # signals
    "constant-signal": Meaning(
        "warning", "signals (or channels) that never change", "remove them, or check the sensor"
    ),
    "clipped-signal": Meaning("warning", "signals that sit at their limit", "check the range of the recording"),
    "mixed-lengths": Meaning(
        "note", "signals of different lengths", "nothing: shorter ones are filled, longer ones cut"
    ),
    "mixed-rates": Meaning("warning", "signals of different sampling rates", "resample them to one rate"),
    "event-outside": Meaning("error", "events outside their signal", "correct their start and end"),
    # splits
    "split-small": Meaning("warning", "splits too small to measure with", "move samples into it"),
    "no-validation": Meaning("note", "no validation split", "nothing: a share of the training samples is held out"),
}
"""Every code there is."""
