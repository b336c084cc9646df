"""What the study's conveniences cost, each against doing without, in turn in one run.

Machines are noisy, and noise only adds: every row compares the fastest of `--rounds` measurements
of ours with the fastest of theirs, made in turn. The range: the middle half of the rounds' ratios.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import datasets
from torchvision.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, ToTensor

from bnstudy import surfaces
from bnstudy.app import CONFIGS
from bnstudy.app.train import build, describe
from bnstudy.data import Batch, DataSet
from bnstudy.inits import xavier_uniform
from bnstudy.lanczos import top_eigenvalues
from bnstudy.memory_format import FORMATS, laid_out
from bnstudy.models.deep_linear import DeepLinear
from bnstudy.models.resnet import ResNet
from bnstudy.models.vgg import VGG
from bnstudy.norms import BatchNorm, LpNorm
from bnstudy.params import dot, length, normal_like, trainable
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape
from bnstudy.probes.sharpness import Sharpness
from bnstudy.record import Recorder
from bnstudy.results import load_run
from bnstudy.session import choose_device, describe_device
from bnstudy.train import gradients, train
from bnstudy.update import Loss, Update, layers_of
from bnstudy.wandb_mirror import wandb_run

BATCH_SIZE, STEPS = 128, 2
LOGGED_STEPS = 160  # a run of the demo: eight probes, tests and all
POINTS, EVERY_POINT = 6, 20  # where the sharpness is measured
TOLERANCE, MOST = 1e-3, 100  # of the sharpness: relative error, and products
MULTIPLES = (0.5, 1.0, 2.0, 4.0)
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

IMAGE = (3, 32, 32)

Action = Callable[[], object]
Norm = Callable[[int], nn.Module]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="per row (15)")
    parser.add_argument("--width", type=float, default=0.25, help="of the VGG-16 (0.25)")
    parser.add_argument("--images", type=int, default=5000, help="per epoch of loading (5000)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument("--threads", type=int, help="of torch on the CPU (torch's own choice)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    data = noise_images(options.images)
    print(
        f"VGG-16 with BatchNorm, width {options.width:g}, batch {BATCH_SIZE}, "
        f"{describe_device(device)}, torch {torch.__version__}, {options.rounds} rounds"
    )
    print(f"{'':48}{'ours':>9}{'theirs':>9}{'ratio':>8}{'range':>14}  goal")
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            (
                f"{STEPS} steps of the loop / bare steps",
                *loop(data, device, options.width, folder),
                "<= 1.02",
            ),
            (
                f"{len(MULTIPLES)} landscape points / forward-backward",
                *landscape(data, device, options.width),
                "<= 1.1",
            ),
            (
                "a gradient with its guards / without",
                *guards(data, device, options.width),
                "<= 1.03",
            ),
            (
                "a Hessian-vector product / double backward",
                *product(data, device, options.width),
                "<= 1.05",
            ),
            (
                "covariate shift of a layer / forward-backward",
                *shift(data, device, options.width),
                "<= 0.4",
            ),
            (
                f"{LOGGED_STEPS} steps of the demo, W&B offline / disabled",
                *logging(options.device, options.threads, folder),
                "<= 1.03",
            ),
            (
                "a step of VGG-11, 1/8: channels-last / as usual",
                *formats(data, device, lambda norm: VGG(IMAGE, 10, norm, depth=11, width=1 / 8)),
                "< 1",
            ),
            (
                "a step of ResNet-20, 1/4: channels-last / usual",
                *formats(data, device, lambda norm: ResNet(IMAGE, 10, norm, width=1 / 4)),
                "< 1",
            ),
            *(
                (f"a step, deep linear: l_p, p = {p} / BatchNorm", *lp_norm(device, p), "<= 1.4")
                for p in (1, 2, math.inf)
            ),
            ("an epoch of batches / DataLoader", *loading(data, device, augment=False), "< 1"),
            ("an epoch, augmented / DataLoader", *loading(data, device, augment=True), "< 1"),
        ]
        for name, ours, theirs, goal in rows:
            compare(name, ours, theirs, goal, options.rounds, device)
        count_products(options.device, folder)
        for row in (eigenthings, pyhessian, loss_landscapes):
            try:
                row(data, device, options.width)
            except ModuleNotFoundError as error:
                print(f"{row.__name__}: {error.name} is not installed")


def compare(
    name: str, ours: Action, theirs: Action, goal: str, rounds: int, device: torch.device
) -> None:
    """One row: both in turn, after a round that is not counted; medians, and quartiles."""
    pairs = [(timed(ours, device), timed(theirs, device)) for _ in range(rounds + 1)][1:]
    own, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    # Of the pairs: a machine that slows down for a while slows both of one.
    quarter, ratio, three_quarters = statistics.quantiles([a / b for a, b in pairs], n=4)
    spread = f"{quarter:.3f}-{three_quarters:.3f}"
    print(f"{name:48}{own:8.3f}s{other:8.3f}s{ratio:8.3f}{spread:>14}  {goal}", flush=True)


def timed(action: Action, device: torch.device) -> float:
    """Seconds that the action takes, including what it left running on the device."""
    started = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def loop(data: DataSet, device: torch.device, width: float, folder: str) -> tuple[Action, Action]:
    """STEPS steps of `train` with its record, against the bare loop on one batch that is there."""
    data = data.to(device)
    names = count()

    def ours_on(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        directory = Path(folder) / str(next(names))
        with closing(Recorder(directory, {"fingerprint": "", "config": {}})) as recorder:
            train(
                model,
                data,
                optimizer,
                recorder,
                steps=STEPS,
                batch_size=BATCH_SIZE,
                seed=0,
                probes={},
            )

    def theirs_on(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(batch.inputs), batch.targets).backward()
            optimizer.step()

    batch = data.batch(0, BATCH_SIZE, 0)
    ours, theirs = (network(device, width) for _ in range(2))
    return lambda: ours_on(*ours), lambda: theirs_on(*theirs, batch)


def landscape(data: DataSet, device: torch.device, width: float) -> tuple[Action, Action]:
    """The landscape probe, against as many bare forward and backward passes as it has points."""
    update = update_of(data.to(device), device, width)
    model, batch = update.loss.model, update.loss.batch
    probe = Landscape(multiples=MULTIPLES)

    def theirs() -> None:
        for _ in MULTIPLES:
            model.zero_grad()
            F.cross_entropy(model(batch.inputs), batch.targets).backward()

    return lambda: probe(update), theirs


def guards(data: DataSet, device: torch.device, width: float) -> tuple[Action, Action]:
    """A gradient that leaves no trace and refuses what does, against one on copies alone."""
    update = update_of(data.to(device), device, width)
    model, batch = update.loss.model, update.loss.batch

    def theirs() -> None:
        leaves = {name: t.clone().requires_grad_() for name, t in update.params.items()}
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        outputs = torch.func.functional_call(model, leaves | buffers, batch.inputs.clone())
        torch.autograd.grad(F.cross_entropy(outputs, batch.targets), list(leaves.values()))

    return lambda: update.loss.value_and_grad(update.params), theirs


def product(data: DataSet, device: torch.device, width: float) -> tuple[Action, Action]:
    """A Hessian-vector product, against the bare double backward."""
    update = update_of(data.to(device), device, width)
    model, batch = update.loss.model, update.loss.batch
    vector = normal_like(update.params, seed=0)

    def theirs() -> None:
        tensors = list(model.parameters())
        value = F.cross_entropy(model(batch.inputs), batch.targets)
        grads = torch.autograd.grad(value, tensors, create_graph=True)
        torch.autograd.grad(grads, tensors, list(vector.values()))

    return lambda: update.loss.hvp(update.params, vector), theirs


def shift(data: DataSet, device: torch.device, width: float) -> tuple[Action, Action]:
    """Internal covariate shift of all layers, against a forward and backward pass for each."""
    update = update_of(data.to(device), device, width)
    model, batch = update.loss.model, update.loss.batch

    def theirs() -> None:
        for _ in update.layers:
            model.zero_grad()
            F.cross_entropy(model(batch.inputs), batch.targets).backward()

    return lambda: InternalCovariateShift()(update), theirs


def count_products(device: str, folder: str) -> None:
    """One row of counts: products to the sharpness along the demo's VGG, against power iteration.

    Power iteration starts at random and is told the truth: it stops as soon as it is close enough.
    """
    sharpness, theirs = (
        Sharpness(every=EVERY_POINT, tolerance=TOLERANCE, iterations=MOST),
        PowerIteration(),
    )
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", [f"device={device}", f"results={folder}"])
    job = build(
        cfg, *describe(cfg, {"model": "vgg", "norm": "batch", "init": "xavier_uniform"}, [])
    )
    probes = {"ours": sharpness, "theirs": theirs}
    recorder = Recorder(job.directory, job.header)
    with closing(recorder):
        train(
            job.model,
            job.data,
            job.optimizer,
            recorder,
            steps=POINTS * EVERY_POINT,
            batch_size=cfg.batch_size,
            seed=0,
            probes=probes,
        )
    run = load_run(job.directory)
    own, other = (run[key][1].sum() for key in ("ours/batch_products", "theirs/products"))
    name = f"products to the sharpness, {POINTS} steps / power iteration"
    print(f"{name:48}{own:9.0f}{other:9.0f}{own / other:8.3f}{'':14}  <= 0.5")


def eigenthings(data: DataSet, device: torch.device, width: float) -> None:
    """Products and seconds to the sharpness, against Lanczos of hessian-eigenthings 1.0."""
    import hessian_eigenthings as library

    update = update_of(data.to(device), device, width)
    model, batch = update.loss.model, update.loss.batch
    pair = (batch.inputs, batch.targets)
    inner = library.HessianOperator(model, [pair], library.supervised_loss(F.cross_entropy))
    counted = Counted(inner.matvec)
    operator = library.LambdaOperator(counted, inner.size, device)

    def theirs() -> float:
        options: dict[str, Any] = {"which": "LA", "reorthogonalize": True, "seed": 0}
        found = library.lanczos(operator, k=1, max_iter=60, tol=TOLERANCE, **options)
        return float(found.eigenvalues[0])

    compare_sharpness("hessian-eigenthings", update, theirs, counted, device)


def pyhessian(data: DataSet, device: torch.device, width: float) -> None:
    """The same against power iteration of PyHessian, which knows evaluation mode only."""
    module = import_module("pyhessian.hessian")  # the package has a class of the same name

    update = update_of(data.to(device), device, width)
    update = replace(update, loss=replace(update.loss, statistics="running"))
    batch, counted = update.loss.batch, Counted(vars(module)["hessian_vector_product"])
    vars(module)["hessian_vector_product"] = counted

    def theirs() -> float:
        pair, on_gpu = (batch.inputs, batch.targets), device.type == "cuda"
        found = module.hessian(update.loss.model, F.cross_entropy, data=pair, cuda=on_gpu)
        return found.eigenvalues(maxIter=MOST, tol=TOLERANCE)[0][0]

    compare_sharpness("PyHessian", update, theirs, counted, device)


def loss_landscapes(data: DataSet, device: torch.device, width: float) -> None:
    """The points of a plane of filter-normalised directions, against loss-landscapes."""
    library, metrics = map(import_module, ("loss_landscapes", "loss_landscapes.metrics"))
    update = update_of(data.to(device), device, width)
    model, batch = update.loss.model, update.loss.batch
    for parameter in model.parameters():
        parameter.data += 0.01  # it divides by the length of every filter, and beta is zero

    def ours() -> None:
        first, second = (surfaces.random_direction(update.params, seed) for seed in (1, 2))
        for point in surfaces.grid([surfaces.axis(5, 1.0)] * 2):
            surfaces.measure([update.loss], surfaces.moved(update.params, [first, second], point))

    def theirs() -> None:
        metric = metrics.Loss(F.cross_entropy, batch.inputs, batch.targets)
        library.random_plane(model, metric, steps=5, deepcopy_model=True)

    compare("25 points of a surface / loss-landscapes", ours, theirs, "", 3, device)


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *arguments: Any) -> Any:
        self.calls += 1
        return self.function(*arguments)


def compare_sharpness(
    library: str, update: Update, theirs: Callable[[], float], counted: Counted, device: Any
) -> None:
    """Two rows: the products to the largest eigenvalue, and the seconds that they take."""
    statistics = update.loss.statistics
    probe = Sharpness(statistics=[statistics], tolerance=TOLERANCE, iterations=MOST)
    values: dict[str, Any] = {}
    own = timed(lambda: values.update(probe(update)), device)
    other = timed(lambda: values.update(theirs=theirs()), device)
    found = float(values[f"{statistics}_eigenvalues"])
    products = int(values[f"{statistics}_products"])
    off = abs(values["theirs"] - found) / abs(found)
    name, more = f"products to the sharpness / {library}", f"they differ by {off:.0e}"
    ratio = products / counted.calls
    print(f"{name:48}{products:9.0f}{counted.calls:9.0f}{ratio:8.3f}{'':14}  {more}")
    name = f"the same in seconds / {library}"
    print(f"{name:48}{own:8.3f}s{other:8.3f}s{own / other:8.3f}", flush=True)


@dataclass(frozen=True)
class PowerIteration:
    """The products that power iteration from a random start needs to the largest eigenvalue."""

    every: int = EVERY_POINT

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The number of products, MOST if it does not get there."""
        product = update.loss.hessian(update.params)
        start = normal_like(update.params, update.seed_of("power_iteration"))
        truth = top_eigenvalues(product, start, 1, 1e-5, MOST).values[0]
        vector, products, value = start, 0, torch.inf
        while products < MOST and abs(value - truth) > TOLERANCE * abs(truth):
            size = length(vector)
            vector = {name: tensor / size for name, tensor in vector.items()}
            image = product(vector)
            value, vector, products = dot(vector, image), image, products + 1
        return {"products": torch.tensor(products)}


def update_of(data: DataSet, device: torch.device, width: float) -> Update:
    """A step of the network from both ends; that it has not moved does not change what it costs."""
    batch = data.batch(0, BATCH_SIZE, 0)
    model, _ = network(device, width)
    F.cross_entropy(model(batch.inputs), batch.targets).backward()
    params, grads, layers = trainable(model), gradients(model), layers_of(model)
    loss = Loss(model, data.criterion, batch, seed=0)
    return Update(0, loss, params, grads, params, 0.1, layers, losses=lambda _: loss)


def logging(device: str, threads: int | None, folder: str) -> tuple[Action, Action]:
    """Steps of the demo's VGG with its probes and tests, with W&B offline and without it."""

    def steps_of(name: str, mode: Literal["offline", "disabled"]) -> Action:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            given = [f"device={device}", f"threads={threads or 'null'}", f"results={folder}/{name}"]
            cfg = compose("train", given)
        choices = {"model": "vgg", "norm": "batch", "init": "xavier_uniform"}
        job = build(cfg, *describe(cfg, choices, []))
        view = wandb_run(job.directory, job.header, mode, "bnstudy", None)
        recorder = Recorder(job.directory, job.header, mirrors=[view] if mode == "offline" else [])
        rounds = count()

        def action() -> None:
            start = 2 * LOGGED_STEPS * next(rounds)  # each ends with a test at the step after
            train(
                job.model,
                job.data,
                job.optimizer,
                recorder,
                steps=start + LOGGED_STEPS,
                batch_size=cfg.batch_size,
                seed=0,
                probes=job.probes,
                test_every=cfg.test_every,
                start=start,
            )
            view.settle()

        return action

    return steps_of("ours", "offline"), steps_of("theirs", "disabled")


def formats(
    data: DataSet, device: torch.device, make: Callable[[Norm], nn.Module]
) -> tuple[Action, Action]:
    """Steps of both arms of a network, without and with BatchNorm, in the two memory formats."""
    batch = data.to(device).batch(0, BATCH_SIZE, 0)

    def steps_in(memory_format: torch.memory_format) -> Action:
        inputs = laid_out(batch.inputs, memory_format)
        arms = [
            step_of(
                initialized(make, norm, device).to(memory_format=memory_format),
                data.criterion,
                Batch(inputs, batch.targets),
            )
            for norm in (nn.Identity, BatchNorm)
        ]
        return lambda: [step() for step in arms]

    return steps_in(FORMATS["channels_last"]), steps_in(FORMATS["contiguous"])


def lp_norm(device: torch.device, p: float) -> tuple[Action, Action]:
    """Ten steps of the deep linear network of the paper with an l_p norm, and with BatchNorm."""
    inputs, targets = (torch.randn(1000, 10, dtype=torch.float64, device=device) for _ in range(2))

    def steps_with(norm: Norm) -> Action:
        model = initialized(lambda norm: DeepLinear((10,), 10, norm), norm, device).double()
        step = step_of(model, F.mse_loss, Batch(inputs, targets), lr=1e-6)
        return lambda: [step() for _ in range(10)]

    return steps_with(partial(LpNorm, p=p)), steps_with(BatchNorm)


def initialized(make: Callable[[Norm], nn.Module], norm: Norm, device: torch.device) -> nn.Module:
    """A network in training mode, always the same."""
    torch.manual_seed(0)
    model = make(norm)
    xavier_uniform(model)
    return model.to(device).train()


def step_of(
    model: nn.Module, criterion: Callable[[Tensor, Tensor], Tensor], batch: Batch, lr: float = 0.01
) -> Action:
    """A bare step of SGD on a batch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)

    def step() -> None:
        optimizer.zero_grad()
        criterion(model(batch.inputs), batch.targets).backward()
        optimizer.step()

    return step


def loading(data: DataSet, device: torch.device, augment: bool) -> tuple[Action, Action]:
    """An epoch of batches on the device, against torchvision's CIFAR10 in a DataLoader."""
    moved = DataSet(
        data.name, data.train, None, data.criterion, data.classes, data.mean, data.std, augment
    ).to(device)
    steps = len(data.train.targets) // BATCH_SIZE
    loader = torch.utils.data.DataLoader(
        cifar10_of(data, augment), batch_size=BATCH_SIZE, shuffle=True, drop_last=True
    )
    epochs = count()

    def ours() -> None:
        epoch = next(epochs)
        for step in range(epoch * steps, (epoch + 1) * steps):
            moved.batch(step, BATCH_SIZE, 0)

    def theirs() -> None:
        for inputs, targets in loader:
            inputs.to(device), targets.to(device)

    return ours, theirs


def cifar10_of(data: DataSet, augment: bool) -> datasets.CIFAR10:
    """torchvision's own data set class around images that are no files."""
    dataset = datasets.CIFAR10.__new__(datasets.CIFAR10)
    random = [RandomCrop(32, padding=4), RandomHorizontalFlip()] if augment else []
    dataset.transform = Compose([*random, ToTensor(), Normalize(MEAN, STD)])
    dataset.target_transform = None
    dataset.data = data.train.inputs.permute(0, 2, 3, 1).numpy()
    dataset.targets = data.train.targets.tolist()
    return dataset


def noise_images(images: int) -> DataSet:
    """Noise in the shape of CIFAR-10: what is in the images does not change how long they take."""
    generator = np.random.default_rng(0)
    inputs = generator.integers(0, 256, (images, 3, 32, 32), dtype=np.uint8)
    train_set = Batch(torch.from_numpy(inputs), torch.arange(images) % 10)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    classes = tuple("0123456789")
    return DataSet("noise", train_set, None, F.cross_entropy, classes, mean, std)


def network(device: torch.device, width: float) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A VGG-16 with BatchNorm and its optimizer, always the same."""
    model = initialized(lambda norm: VGG(IMAGE, 10, norm, width=width), BatchNorm, device)
    return model, torch.optim.SGD(model.parameters(), lr=0.01)


if __name__ == "__main__":
    main()
