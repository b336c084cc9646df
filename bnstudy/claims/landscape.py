"""What the paper says of the loss landscape along the gradient, beside the primary claims."""

from functools import partial

from bnstudy.claims.comparisons import (
    BATCH,
    BATCH_HIGH,
    LINEAR,
    LINEAR_BATCH,
    STANDARD,
    narrower_loss_range,
    orders,
    smaller_change,
    smoother,
)
from bnstudy.claims.judging import Claim, Needs
from bnstudy.claims.primary import AT_MATCHED_LOSS, LINEAR_STEPS, SEEDS_FROM
from bnstudy.claims.rules import at_least, greater
from bnstudy.measures import landscape
from bnstudy.measures.landscape import loss_width
from bnstudy.results import Run


def narrower_random_range(standard: Run, batch: Run) -> float:
    """`smoother` of the absolute width of the loss range along a random direction."""
    return smoother(partial(loss_width, key=landscape.RANDOM_LOSS), standard, batch)


def loss_orders(standard: Run, *others: Run) -> float:
    """Decades between the highest losses along the gradient [1]."""
    return orders(standard, *others, key=landscape.LOSS)


WIDTH = f"highest − lowest loss over the step sizes, {AT_MATCHED_LOSS}, standard / BatchNorm"
TOPIC = "Loss landscape"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="larger_distances",
        title="BatchNorm keeps the loss smooth over larger distances",
        says="It “continues to provide smoothing for even larger distances” than η = 0.4.",
        source="figure 4, caption",
        arms=(STANDARD, BATCH_HIGH),
        quantity=f"{WIDTH}: standard up to η = 0.4, BatchNorm up to η = 2 (trained at lr 0.5)",
        measure=narrower_loss_range,
        rule=greater(),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="random_directions",
        title="The loss varies less with BatchNorm along random directions too",
        says="The loss “behaves in a similar way” along other (random) directions.",
        source="section 3.2",
        arms=(STANDARD, BATCH),
        quantity=f"{WIDTH}, along an isotropic random direction as long as the gradient",
        measure=narrower_random_range,
        rule=greater(),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="gradient_change_orders",
        title="The gradient changes less by close to two orders of magnitude",
        says="“Close to two orders of magnitude”; the medians of figure 4b are 2.2 times apart.",
        source="section 3.2 (text); neither relative nor at the same loss there",
        arms=(STANDARD, BATCH),
        quantity=f"largest ‖∇L(θ − η g) − g‖ / ‖g‖ over the step sizes η, {AT_MATCHED_LOSS}, "
        "standard / BatchNorm",
        measure=smaller_change,
        rule=at_least(10**1.5, unit="×", why="one and a half orders"),
        needs=Needs(steps=1500),
    ),
    *(
        Claim(
            topic=TOPIC,
            name=name,
            title=title,
            says=says,
            source=source,
            arms=(LINEAR, LINEAR_BATCH),
            quantity=quantity,
            measure=measure,
            rule=at_least(2, unit=" orders", paper=paper, why="orders, so two"),
            needs=Needs(steps=LINEAR_STEPS),
            seeds_from=SEEDS_FROM,
        )
        for name, title, says, source, quantity, measure, paper in (
            (
                "linear_loss_orders",
                "The deep linear network's loss rises orders of magnitude less with BatchNorm",
                "Up to 6e14 along the gradient without BatchNorm, 1e5 with it (lr 1e-6).",
                "figure 10a",
                "orders of magnitude between the highest losses, standard and BatchNorm",
                loss_orders,
                14.79 - 5.04,
            ),
            (
                "linear_change_orders",
                "The deep linear network's gradient changes orders of magnitude less with "
                "BatchNorm",
                "Up to 2e16 along the gradient without BatchNorm, 3e6 with it (lr 1e-6).",
                "figure 10b",
                "orders of magnitude between the largest gradient changes",
                orders,
                16.29 - 6.48,
            ),
        )
    ),
)
