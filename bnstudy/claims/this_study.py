"""What this study adds to the paper's claims, from the same runs, beside the primary claims."""

from bnstudy.claims.comparisons import BATCH, LINEAR_BATCH, LINEAR_BATCH_LOW, LINEAR_LOW, STANDARD
from bnstudy.claims.judging import Claim, Needs
from bnstudy.claims.primary import LINEAR_STEPS, SEEDS_FROM
from bnstudy.claims.rules import at_least, greater, within
from bnstudy.measures.internal_covariate_shift import sign_share
from bnstudy.measures.landscape import beta_at_edge, effective_beta, pinned_by_grid, pinned_share
from bnstudy.measures.series import late, median, ratio
from bnstudy.results import Run


def late_beta_ratio(standard: Run, batch: Run) -> float:
    """Effective beta of BatchNorm over the standard network's, medians from step 1000 on [1].

    In units of 1 / lr, which is the same for both.
    """
    return ratio(*(median(late(effective_beta(run))) for run in (batch, standard)))


TOPIC = "Added by this study"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="pinned_beta",
        title="Effective β of VGG lies at 1 / the smallest step size of the probe",
        says="Not in the text; both curves lie at 20 = 1/η_min most of the time. That is 2/lr too.",
        source="figure 4c, read closely",
        arms=(STANDARD, BATCH),
        quantity="share of the steps with effective β within 5 % of 1/η_min, the smaller of both",
        measure=pinned_share,
        rule=at_least(0.5, paper=0.67, why="most of the time"),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="pinned_by_grid",
        title="Where effective β lies at 1 / the smallest step size, smaller steps give another",
        says="Then the step sizes pin it. At the edge of stability 2/lr it would not change.",
        source="by the definition; not in the paper",
        arms=(STANDARD, BATCH),
        quantity="share of the pinned steps at which effective β over lr/64 and lr/8 differs by "
        "more than a quarter, both networks together",
        measure=pinned_by_grid,
        rule=at_least(0.5, why="most of them"),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="edge_1e-7",
        title="BatchNorm sits at its edge of stability 2/lr at lr 1e-7",
        says="The paper shows no landscape at lr 1e-7.",
        source="not shown",
        arms=(LINEAR_BATCH_LOW,),
        quantity="effective β / (2/lr), deep linear network, median from step 1000 on",
        measure=beta_at_edge,
        rule=within(0.95, 1.05, why="2/lr, within 5 %"),
        needs=Needs(steps=LINEAR_STEPS),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="less_smooth_1e-7",
        title="At lr 1e-7 the linear network is less smooth along the gradient with BatchNorm",
        says="The paper shows no landscape at lr 1e-7. A pilot study found a factor of about 1000. "
        "The largest eigenvalue differs far less: see linear_sharper_1e-7.",
        source="not shown",
        arms=(LINEAR_LOW, LINEAR_BATCH_LOW),
        quantity="effective β, median from step 1000 on, BatchNorm / standard",
        measure=late_beta_ratio,
        rule=greater(),
        needs=Needs(steps=LINEAR_STEPS),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="sign_of_cosine",
        title="At the edge of stability the shift follows from the share of the gradient below",
        says="Not in the paper: G′ = (1 − 2f) G, f the preceding layers' share of ‖g‖², if g is "
        "along the only eigenvector of the Hessian that counts, and its eigenvalue is 2/lr.",
        source="figure 3b, explained",
        arms=(LINEAR_BATCH,),
        quantity="share of late steps (layers 9, 17) at which cos(G, G′) has the sign of 1 − 2f",
        measure=sign_share,
        rule=at_least(0.9, why="nine in ten"),
        needs=Needs(steps=LINEAR_STEPS),
        seeds_from=SEEDS_FROM,
    ),
)
