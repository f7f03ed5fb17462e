"""Window arithmetic along one axis, in integers and exact fractions.

Everything that looks at a neighbourhood (convolution, pooling, resampling, cropping) is a window: output position ``u``
reads the input positions ``u * stride - before + dilation * t`` for the taps ``t = 0 .. kernel - 1``. A transposed
window is the same relation with input and output exchanged. Positions are pixels counted from 0; positions below 0 or
at and beyond the input size lie in the padding.

A set of positions is written as ``Spans``: sorted, disjoint, inclusive intervals that do not touch. Sets and not
single intervals, because dilated windows leave holes, and holes decide what a later transposed window can reach.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import floor, gcd
from typing import Literal

from striate.core.errors import InputError

PaddingMode = Literal["zeros", "reflect", "circular", "replicate"]
Interval = tuple[int, int]
Spans = tuple[Interval, ...]


def merged(intervals: Iterable[Interval]) -> Spans:
    """The union of inclusive intervals as sorted spans; empty intervals (low > high) are dropped."""
    spans: list[Interval] = []
    for low, high in sorted(pair for pair in intervals if pair[0] <= pair[1]):
        if spans and low <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(high, spans[-1][1]))
        else:
            spans.append((low, high))
    return tuple(spans)


def clipped(spans: Spans, size: int) -> Spans:
    """The part of ``spans`` inside ``0 .. size - 1``."""
    return tuple((max(low, 0), min(high, size - 1)) for low, high in spans if low < size and high >= 0)


def bounds(spans: Spans) -> Interval | None:
    """Lowest and highest position of ``spans``; ``None`` when there is none."""
    return (spans[0][0], spans[-1][1]) if spans else None


@dataclass(frozen=True)
class Window:
    """One window operation along one axis.

    ``before`` and ``after`` are positions of padding at the two ends (negative: positions cut off); ``padding_mode``
    says what stands there. ``ceil`` rounds the output size up, as pooling may: a last window may then stick out of the
    padding by less than the stride, unless it would start after the input. For a transposed window ``before`` and
    ``after`` are cut from the output and ``output_padding`` positions are added at its end.

    Errors: ``InputError`` when kernel, stride or dilation is below 1.
    """

    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0
    ceil: bool = False
    transposed: bool = False
    output_padding: int = 0
    padding_mode: PaddingMode = "zeros"

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "dilation"):
            if getattr(self, name) < 1:
                raise InputError("window", f"{name} is {getattr(self, name)}", f"give a {name} of 1 or more")

    @property
    def effective_kernel(self) -> int:
        """Positions from the first to the last tap, both counted: d (k - 1) + 1."""
        return self.dilation * (self.kernel - 1) + 1

    def output_size(self, n: int) -> int:
        """Number of output positions for ``n`` input positions.

        floor((n + before + after - d (k - 1) - 1) / s) + 1;
        transposed (n - 1) s - before - after + d (k - 1) + output_padding + 1.
        Errors: ``InputError`` when no window fits.
        """
        reach, padding = self.effective_kernel - 1, self.before + self.after
        if self.transposed:
            size = (n - 1) * self.stride - padding + reach + self.output_padding + 1
        else:
            room = n + padding - reach - 1
            size = (-(-room // self.stride) if self.ceil else room // self.stride) + 1
            if self.ceil and (size - 1) * self.stride >= n + self.before:
                size -= 1
        if n < 1 or size < 1:
            raise InputError(
                "window",
                f"{n} positions with padding {self.before} and {self.after} are too few for a window that spans "
                f"{self.effective_kernel}",
                "use a larger input, a smaller kernel or more padding",
            )
        return size

    def spans(self, outputs: Spans) -> Spans:
        """Every input position that the ``outputs`` read, on an endless axis (padding positions included)."""
        steps = range(0, self.effective_kernel, self.dilation)
        if self.transposed:
            shifted = ((low + self.before - step, high + self.before - step) for low, high in outputs for step in steps)
            return merged((-(-low // self.stride), high // self.stride) for low, high in shifted)
        if self.dilation == 1 and self.kernel >= self.stride:
            return merged(
                (low * self.stride - self.before, high * self.stride - self.before + self.kernel - 1)
                for low, high in outputs
            )
        if self.stride == 1:
            shifts = [step - self.before for step in steps]
            return merged((low + shift, high + shift) for low, high in outputs for shift in shifts)
        firsts = (position * self.stride - self.before for low, high in outputs for position in range(low, high + 1))
        return merged((first + step, first + step) for first in firsts for step in steps)

    def read(self, outputs: Spans, n: int) -> Spans:
        """The positions ``0 .. n - 1`` of an input of size ``n`` that the ``outputs`` depend on.

        Zero padding depends on nothing; the other padding modes stand for positions inside the input.
        """
        reached = self.spans(outputs)
        if self.padding_mode == "zeros" or not reached or (reached[0][0] >= 0 and reached[-1][1] < n):
            return clipped(reached, n)
        ends = -self.before, n + self.after - 1
        outside = [
            position
            for low, high in reached
            for position in range(max(low, ends[0]), min(high, ends[1]) + 1)
            if not 0 <= position < n
        ]
        inside = (padding_source(position, n, self.padding_mode) for position in outside)
        return merged((*clipped(reached, n), *((place, place) for place in inside if place is not None)))

    def sources(self, low: int, high: int, n: int) -> Interval | None:
        """First and last input position that outputs ``low .. high`` read, padding included; ``None``: nothing is read.

        An output of a transposed window may read nothing (kernel below stride, dilation, output padding). ``n``, the
        input size, matters to adaptive windows only.
        """
        return bounds(self.spans(((low, high),)))

    def clipped_sources(self, low: int, high: int, n: int) -> Interval | None:
        """Like :meth:`sources`, inside an input of size ``n``; ``None`` when the outputs see only padding."""
        return bounds(self.read(((low, high),), n))


@dataclass(frozen=True)
class AdaptiveWindow:
    """Pooling of any input to ``outputs`` positions: output u reads floor(u n / m) .. ceil((u + 1) n / m) - 1.

    Unless m divides n the windows differ in size and may overlap, so that no kernel and stride describe them.
    """

    outputs: int

    def output_size(self, n: int) -> int:
        """Always ``outputs``. Errors: ``InputError`` for an empty input."""
        if n < 1:
            raise InputError("adaptive window", f"{n} positions came", "give at least one")
        return self.outputs

    def read(self, outputs: Spans, n: int) -> Spans:
        """The positions of an input of size ``n`` that the ``outputs`` read; outputs beyond m - 1 read none."""
        return merged(
            (low * n // self.outputs, -(-(high + 1) * n // self.outputs) - 1)
            for low, high in clipped(outputs, self.outputs)
        )

    def sources(self, low: int, high: int, n: int) -> Interval | None:
        """First and last input position that outputs ``low .. high`` read; ``None`` outside the output."""
        return bounds(self.read(((low, high),), n))

    def clipped_sources(self, low: int, high: int, n: int) -> Interval | None:
        """The same as :meth:`sources`: there is no padding."""
        return self.sources(low, high, n)


AnyWindow = Window | AdaptiveWindow


@dataclass(frozen=True)
class Field:
    """Where the outputs of a layer look, in input pixels: output u is centred at ``start + u * jump``.

    Layer by layer r += d (k - 1) j; start += (d (k - 1) / 2 - p) j; j *= s (Araujo et al. 2019,
    doi 10.23915/distill.00021); a transposed window divides j by s first and moves start the other way. ``extent`` is
    the distance between the centres of the first and the last pixel read, r - 1. After a transposed window it is a
    bound that not every position reaches: :class:`striate.core.graph.WindowGraph` gives the exact answer.
    """

    extent: Fraction = Fraction(0)
    jump: Fraction = Fraction(1)
    start: Fraction = Fraction(0)

    @property
    def size(self) -> int:
        """Pixels seen at most: the receptive field r."""
        return floor(self.extent) + 1

    def through(self, window: Window) -> "Field":
        """The field after one more window."""
        reach = window.effective_kernel - 1
        offset = Fraction(reach, 2) - window.before
        if window.transposed:
            jump = self.jump / window.stride
            return Field(self.extent + reach * jump, jump, self.start - offset * jump)
        return Field(self.extent + reach * self.jump, self.jump * window.stride, self.start + offset * self.jump)

    def union(self, other: "Field") -> "Field | None":
        """The field of a sum or join of two branches; ``None`` when their outputs do not step alike."""
        if self.jump != other.jump:
            return None
        low = min(self.start - self.extent / 2, other.start - other.extent / 2)
        high = max(self.start + self.extent / 2, other.start + other.extent / 2)
        return Field(high - low, self.jump, (low + high) / 2)


def padding_source(position: int, n: int, mode: PaddingMode) -> int | None:
    """The position inside ``0 .. n - 1`` whose value stands at ``position``; ``None`` where a zero stands."""
    if 0 <= position < n:
        return position
    if mode == "zeros":
        return None
    if mode == "circular":
        return position % n
    if mode == "replicate":
        return min(max(position, 0), n - 1)
    if n == 1:
        return 0
    folded = position % (2 * n - 2)  # the mirror does not repeat the border pixel
    return min(folded, 2 * n - 2 - folded)


def same_padding(kernel: int, dilation: int = 1) -> Interval:
    """Padding (before, after) of d (k - 1) in all, which makes the output ceil(n / s) for every stride s and size n.

    An odd total puts the extra position after. It does not depend on n, so a network keeps its meaning at other sizes.
    """
    total = dilation * (kernel - 1)
    return total // 2, total - total // 2


def adaptive(n: int, outputs: int) -> AnyWindow:
    """The window that pools ``n`` positions to ``outputs``: a regular one where ``outputs`` divides ``n``."""
    if n % outputs == 0:
        return Window(kernel=n // outputs, stride=n // outputs)
    return AdaptiveWindow(outputs)


def linear_upsampling(factor: int) -> Window:
    """Linear interpolation by a whole factor between pixel centres (output u lies at (u + 1/2) / f - 1/2).

    Input i contributes to output u iff \\|u - f i - (f - 1) / 2\\| < f: a transposed window of 2 f taps for even f and
    2 f - 1 for odd f, cut evenly so that the output has f n positions.
    """
    kernel = 2 * factor - factor % 2
    cut = (kernel - factor) // 2
    return Window(kernel=kernel, stride=factor, before=cut, after=cut, transposed=True)


def compose(first: Window, second: Window) -> Window:
    """The smallest single window that does what ``first`` and then ``second`` do, away from the borders.

    Sizes 3 and 3 give 5, then 7 with a third. Its taps are the sums d1 t1 + s1 d2 t2; a common divisor is the dilation.
    Errors: ``InputError`` for transposed windows, which one window cannot express.
    """
    if first.transposed or second.transposed:
        raise InputError("compose", "a transposed window came", "compose ordinary windows only")
    span = first.effective_kernel - 1 + first.stride * (second.effective_kernel - 1)
    steps = (first.dilation if first.kernel > 1 else 0, first.stride * second.dilation if second.kernel > 1 else 0)
    dilation = gcd(*steps) or 1
    return Window(
        kernel=span // dilation + 1,
        stride=first.stride * second.stride,
        dilation=dilation,
        before=first.before + second.before * first.stride,
        after=first.after + second.after * first.stride,
    )


def flip_drift(field: Field, width: int, outputs: int) -> Fraction:
    """Pixels by which the outputs of a mirrored input miss the mirrored outputs: W - 1 - 2 start - (n - 1) j.

    ``width`` W and ``outputs`` n are positions along the axis; at 0 the two line up.
    """
    return width - 1 - 2 * field.start - (outputs - 1) * field.jump


def overlaps(kernel: int, stride: int, dilation: int = 1) -> tuple[int, ...]:
    """Taps of a transposed window that fall on outputs of each phase: #{t < k : d t = r mod s} for r = 0 .. s - 1."""
    counts = [0] * stride
    for tap in range(kernel):
        counts[dilation * tap % stride] += 1
    return tuple(counts)


def overlap_is_even(kernel: int, stride: int, dilation: int = 1) -> bool:
    """Whether a transposed window covers its output evenly; uneven covering shows as a checkerboard."""
    return len(set(overlaps(kernel, stride, dilation))) == 1
