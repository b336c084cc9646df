"""What is said of stable distributions of activations, and of noise, beside the primary claims."""

from functools import partial

from bnstudy.claims.comparisons import BATCH, STANDARD, TO_LEVEL, level_in_words, times_slower
from bnstudy.claims.judging import Claim, Needs
from bnstudy.claims.primary import NOISY, drift_ratio
from bnstudy.claims.rules import SIMILAR, at_most, greater
from bnstudy.measures.drift import drift, drift_layers
from bnstudy.measures.series import geometric_mean, median_ratio
from bnstudy.results import Run

Z = "preactivation_next"


def noisy_drift_ratio(noisy: Run, *others: Run) -> float:
    """The drift of z under noise over the larger of the others' [1]: geometric mean over layers.

    To the next batch, for which the noise is drawn again; z has the noise in it.
    """
    ratios = []
    for name in drift_layers(noisy, Z):
        own = (noisy, drift(noisy, Z, name))
        ratios.append(min(median_ratio(own, (run, drift(run, Z, name))) for run in others))
    return geometric_mean(ratios)


PLACES = {
    "preactivation_same": (
        "What the activation function sees drifts less with BatchNorm",
        "after the norm, which fixes the mean, so that this nearly holds by construction; same "
        "batch",
    ),
    "activation_same": (
        "What the next layer sees drifts less with BatchNorm",
        "after the activation function, same batch",
    ),
    "norm_input_next": (
        "What the norm sees drifts less with BatchNorm from one batch to the next",
        "before the norm, next batch",
    ),
}
TOPIC = "Stable distributions and noise"
CLAIMS = (
    *(
        Claim(
            topic=TOPIC,
            name=f"drift_{place}",
            title=title,
            says="BatchNorm reduces “the change in the distribution of network activations due to "
            "the change in network parameters during training”; Santurkar et al. 2018 call the "
            "difference “marginal”.",
            source="Ioffe & Szegedy 2015, section 2; Santurkar et al. 2018, section 2",
            arms=(STANDARD, BATCH),
            quantity="Wasserstein distance of a unit's distribution between a step and the next, "
            f"{where}, in standard deviations (mean over units, median over steps, geometric mean "
            "over layers), standard / BatchNorm",
            measure=partial(drift_ratio, place=place),
            rule=greater(),
            needs=Needs(steps=1500),
        )
        for place, (title, where) in PLACES.items()
    ),
    Claim(
        topic=TOPIC,
        name="noisy_like_batch",
        title="Noisy BatchNorm trains about as fast as BatchNorm",
        says="Nearly no difference in training (90 % accuracy after 2400 and 1600 steps).",
        source="section 2.1, figure 2",
        arms=(BATCH, NOISY),
        quantity=f"{TO_LEVEL}: noisy BatchNorm / BatchNorm",
        measure=times_slower,
        rule=at_most(1.25, unit="×", paper=2400 / 1600, why=SIMILAR),
        detail=level_in_words,
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="noise_moves_more",
        title="With the noise the activations are less stable than without any norm",
        says="The means move by 0.33 in a step, by 0.05 in the standard network.",
        source="section 2.1, appendix B, figure 8a; not in standard deviations there",
        arms=(NOISY, STANDARD, BATCH),
        quantity="Wasserstein distance of a unit's distribution between a step and the next, "
        "before the activation function, next batch, in standard deviations (mean over units, "
        "median over steps, geometric mean over layers), noisy BatchNorm / the larger of the "
        "others",
        measure=noisy_drift_ratio,
        rule=greater(),
        needs=Needs(steps=1500),
    ),
)
