"""The arithmetic of docs/scale.md: bytes, hours and cost from formulas and stated assumptions. Nothing is measured.

python -m benchmarks.scale   (prints the tables of the page; a test compares them)
"""

from __future__ import annotations

from dataclasses import dataclass

from kdfeatures.runs.results import markdown

TOKENS = 1e9  # of the corpus, real ones
LENGTH = 128  # tokens of a sequence
BYTES = 2  # of a cached value, bf16
VOCABULARY, POSITIONS = 30_522, 512
GPUS = 8
PEAK = 989e12  # FLOP/s of one H100 SXM in dense bf16, NVIDIA's data sheet
UTILISATION = 0.3  # of the peak: assumed; small encoders reach less than large ones
PRICE = 2.5  # dollars for a GPU hour: assumed
EPOCHS = 3  # as TinyBERT's general distillation (arXiv:1909.10351, section 4.2)


@dataclass(frozen=True)
class Size:
    """An encoder of L layers, width D and feed-forward width 4 D."""

    layers: int
    width: int

    @property
    def name(self) -> str:
        return f"{self.layers} x {self.width}"

    @property
    def parameters(self) -> int:
        """Weight matrices and embeddings: L (4 D² + 2 D 4D) + (V + P) D."""
        return self.layers * 12 * self.width**2 + (VOCABULARY + POSITIONS) * self.width

    @property
    def forward(self) -> int:
        """FLOP for a token: twice the weights of the layers, and 4 L D a layer for scores and their sum over values."""
        return self.layers * (2 * 12 * self.width**2 + 4 * LENGTH * self.width)


BASE, LARGE = Size(12, 768), Size(24, 1024)
RUNS = [(BASE, Size(6, 768)), (BASE, Size(6, 384)), (LARGE, Size(6, 384))]


def cache_table(teacher: Size = BASE, student: Size = RUNS[0][1]) -> str:
    """Return what the teacher's features take on disk, and how fast they must be read to keep up with the student."""
    width, layers = teacher.width, student.layers
    values = {
        f"hidden of {layers + 1} layers, q and k of {layers} (TinyBERT)": (layers + 1) * width + layers * 2 * width,
        f"hidden of {layers + 1} layers (FitNets)": (layers + 1) * width,
        "q, k and v of one layer (MiniLMv2)": 3 * width,
        "hidden at [CLS] of 5 layers (PKD)": 5 * width / LENGTH,
        "2 logits a sequence": 2 / LENGTH,
    }
    seconds = TOKENS * 3 * student.forward / (GPUS * PEAK * UTILISATION)
    return markdown(
        [
            {
                "cached": name,
                "values a token": f"{count:,.2f}".removesuffix(".00"),
                "gigabytes": f"{TOKENS * count * BYTES / 1e9:,.2f}",
                "gigabytes/s to keep up": f"{TOKENS * count * BYTES / 1e9 / seconds:,.1f}",
            }
            for name, count in values.items()
        ]
    )


def time_table() -> str:
    """Return hours and cost of a distillation on one node: teacher forward + 3 x student forward a token."""
    rows = []
    for teacher, student in RUNS:
        flop = teacher.forward + 3 * student.forward
        hours = EPOCHS * TOKENS * flop / (GPUS * PEAK * UTILISATION) / 3600
        rows.append(
            {
                "teacher": teacher.name,
                "student": student.name,
                "MFLOP a token": f"{flop / 1e6:.0f}",
                "of it teacher": f"{100 * teacher.forward / flop:.0f}%",
                "minutes an epoch": f"{60 * hours / EPOCHS:.1f}",
                "hours": f"{hours:.2f}",
                "GPU hours": f"{GPUS * hours:.1f}",
                "dollars": f"{GPUS * hours * PRICE:.1f}",
            }
        )
    return markdown(rows)


def memory_table() -> str:
    """Return bytes of weights, gradients and Adam's two moments in float32, whole and in shards."""
    rows = []
    for student in [Size(6, 384), Size(6, 768), LARGE, Size(32, 2560)]:
        state = 16 * student.parameters / 1e9
        rows.append(
            {
                "student": student.name,
                "parameters": f"{student.parameters / 1e6:,.0f}M",
                "DDP, gigabytes a GPU": f"{state:.2f}",
                f"FSDP on {GPUS}": f"{state / GPUS:.2f}",
            }
        )
    return markdown(rows)


if __name__ == "__main__":
    print(cache_table(), time_table(), memory_table(), sep="\n\n")
