"""Loss surfaces: directions against what they are defined by, values against direct evaluation."""

import html.parser
import importlib
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import Normalize
from torch import nn

from bnstudy import surface_plots, surfaces
from bnstudy.data import Batch
from bnstudy.lanczos import matrix_of
from bnstudy.observe import observe
from bnstudy.params import Params, add_scaled, cosine, dot, length
from bnstudy.surface_plots import draw, load_surface, page
from bnstudy.update import Loss

RUNNING = "running"


class Quadratic(nn.Module):
    """Outputs 1/2 theta' A theta, with theta [3] and what is called a matrix [2, 2] in one."""

    def __init__(self) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
        self.matrix = nn.Parameter(torch.tensor([[3.0, 0.0], [4.0, 0.0]], dtype=torch.float64))

    def forward(self, factor: torch.Tensor) -> torch.Tensor:
        return factor * (self.vector.square().sum() + 2 * self.matrix.square().sum()) / 2


def quadratic(factor: float = 1.0) -> Loss:
    batch = Batch(torch.tensor(factor, dtype=torch.float64), torch.zeros(1))
    return Loss(Quadratic(), lambda outputs, _: outputs, batch, seed=0)


def bn_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(64, 3),
    ).double()
    for buffer in net[1].buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return net


def losses_of(net: nn.Module, count: int = 2, statistics: str = "batch") -> list[Loss]:
    generator = torch.Generator().manual_seed(5)
    batches = [
        Batch(
            torch.randn(7, 1, 6, 6, generator=generator, dtype=torch.float64),
            torch.randint(3, (7,), generator=generator),
        )
        for _ in range(count)
    ]
    criterion = nn.functional.cross_entropy
    return [Loss(net, criterion, batch, seed, statistics) for seed, batch in enumerate(batches)]


def params_of(net: nn.Module) -> Params:
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def state_of(net: nn.Module) -> list[object]:
    tensors = [t.clone() for t in (*net.parameters(), *net.buffers())]
    grads = [p.grad.clone() for p in net.parameters()]
    modes = [module.training for module in net.modules()]
    return [*tensors, *grads, torch.get_rng_state(), modes]


def same(one: list[object], other: list[object]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


# Directions


def test_a_filter_normalised_direction_has_the_filters_of_the_weights():
    params = params_of(bn_net())
    params["0.weight"][2] = 0.0
    drawn = surfaces.normal_like(params, 3)
    drawn["5.weight"][1] = 0.0
    direction = surfaces.filter_normalised(drawn, params)
    for name in ("0.weight", "5.weight"):
        lengths, wanted = (t[name].flatten(1).norm(dim=1) for t in (direction, params))
        if name == "5.weight":
            wanted[1] = 0.0
        torch.testing.assert_close(lengths, wanted)
        assert torch.isfinite(direction[name]).all()
        kept = lengths > 0
        cosines = torch.cosine_similarity(direction[name].flatten(1), drawn[name].flatten(1))
        torch.testing.assert_close(cosines[kept], torch.ones_like(cosines[kept]))
    assert direction["0.weight"][2].count_nonzero() == 0  # a filter that is zero stays there


def test_tensors_with_one_dimension_stay_unless_they_are_asked_for():
    params = params_of(bn_net())
    one_dimensional = [name for name, tensor in params.items() if tensor.dim() == 1]
    assert one_dimensional == ["1.weight", "1.bias", "5.bias"]
    direction = surfaces.random_direction(params, 0)
    assert all(direction[name].count_nonzero() == 0 for name in one_dimensional)
    everything = surfaces.random_direction(params, 0, all_tensors=True)
    for name in one_dimensional:  # beta is zero at first, and stays
        torch.testing.assert_close(everything[name].norm(), params[name].norm())
    assert everything["1.weight"].count_nonzero() == 4
    assert torch.equal(everything["0.weight"], direction["0.weight"])


def test_a_random_direction_is_a_function_of_the_seed():
    params = params_of(bn_net())
    first, again, other = (surfaces.random_direction(params, seed) for seed in (1, 1, 2))
    assert surfaces.digest(first) == surfaces.digest(again) != surfaces.digest(other)


def test_orthogonal_directions_are_orthogonal_and_parallel_ones_refused():
    params = params_of(bn_net())
    first, second = (surfaces.random_direction(params, seed) for seed in (1, 2))
    assert abs(cosine(first, second)) > 1e-3
    found = surfaces.orthogonal(second, first)
    assert abs(cosine(first, found)) < 1e-15
    # What is left differs from the direction by a multiple of the first alone.
    removed = surfaces.orthogonal(second, found)
    torch.testing.assert_close(abs(cosine(removed, first)), torch.tensor(1.0).double())
    with pytest.raises(ValueError, match="parallel"):
        surfaces.orthogonal(add_scaled(first, first, 2.0), first)
    torch.testing.assert_close(length(surfaces.scaled(found, 3.0)), torch.tensor(3.0).double())


def test_the_gradient_direction_is_minus_the_mean_gradient():
    losses = [quadratic(1.0), quadratic(3.0)]
    params = params_of(losses[0].model)
    direction = surfaces.gradient_direction(losses, params)
    torch.testing.assert_close(direction["vector"], -2 * params["vector"])
    torch.testing.assert_close(direction["matrix"], -4 * params["matrix"])


def test_eigenvector_directions_are_those_of_the_mean_loss():
    losses, params = losses_of(bn_net()), params_of(bn_net())
    directions, values = surfaces.eigenvector_directions(losses, params, 2, tolerance=1e-6)
    product = matrix_of(losses, params)
    for direction, value in zip(directions, values, strict=True):
        image = product(direction)
        assert float(length(direction)) == pytest.approx(1.0)
        assert float(length(add_scaled(image, direction, -value))) < 1e-2 * value
    assert values[0] > values[1] > 0 and abs(dot(*directions)) < 1e-6
    again, _ = surfaces.eigenvector_directions(losses, params, 1, tolerance=1e-6)
    assert abs(dot(again[0], directions[0])) == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(ValueError, match="9 eigenvectors of the hessian are needed; 2 are found"):
        surfaces.eigenvector_directions([quadratic()], params_of(Quadratic()), 9)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_the_plane_of_a_planar_trajectory_and_its_coordinates_are_found(dimensions):
    last = params_of(bn_net())
    across = [surfaces.normal_like(last, seed) for seed in (1, 2)]
    steps = [(9.0, 1.0), (5.0, 3.0), (2.0, 2.0), (0.5, 0.0), (0.0, 0.0)]
    trajectory = [surfaces.moved(last, across[:dimensions], at[:dimensions]) for at in steps]
    plane = surfaces.principal_plane(trajectory, dimensions)
    for weights, point in zip(trajectory, plane.coordinates, strict=True):
        found = surfaces.moved(last, plane.directions, point)
        for name in weights:
            torch.testing.assert_close(found[name], weights[name], rtol=0, atol=1e-12)
    gram = [[float(dot(one, other)) for one in plane.directions] for other in plane.directions]
    np.testing.assert_allclose(gram, np.eye(dimensions), atol=1e-12)
    assert sum(plane.explained) == pytest.approx(1.0)
    assert plane.explained == sorted(plane.explained, reverse=True)
    assert plane.coordinates[-1] == (0.0,) * dimensions


def test_a_trajectory_that_spans_no_plane_is_refused():
    last = params_of(bn_net())
    step = surfaces.normal_like(last, 1)
    line = [add_scaled(last, step, at) for at in (2.0, 1.0, 0.0)]
    with pytest.raises(ValueError, match="span 1 dimensions; 2 are needed"):
        surfaces.principal_plane(line)
    with pytest.raises(ValueError, match="span 0 dimensions"):
        surfaces.principal_plane([last, last, last], 1)


# Values


def test_a_surface_of_a_quadratic_is_its_formula(tmp_path):
    loss = quadratic()
    params = params_of(loss.model)
    first = {"vector": torch.tensor([1.0, 0, 0]).double(), "matrix": torch.zeros(2, 2).double()}
    second = {"vector": torch.zeros(3).double(), "matrix": torch.ones(2, 2).double()}
    surface = surface_of([loss], params, [first, second], tmp_path)
    a, b = np.meshgrid(*surface.axes)
    expected = ((1 + a) ** 2 + 4 + 0.25) / 2 + (3 + b) ** 2 + (4 + b) ** 2 + 2 * b**2
    np.testing.assert_allclose(surface["loss"], expected, rtol=1e-14)
    assert "accuracy" not in surface.values
    middle = tuple(size // 2 for size in surface["loss"].shape)
    assert surface["loss"][middle] == float(loss(params))


@pytest.mark.parametrize("statistics", ["batch", RUNNING])
def test_a_surface_of_a_bn_net_is_the_loss_and_accuracy_at_its_points(tmp_path, statistics):
    net = bn_net()
    losses, params = losses_of(net, 2, statistics), params_of(net)
    directions = [surfaces.random_direction(params, seed) for seed in (1, 2)]
    surface = surface_of(losses, params, directions, tmp_path)
    i, j = 1, 4
    at = surface.axes[0][j], surface.axes[1][i]
    there = {n: params[n] + at[0] * directions[0][n] + at[1] * directions[1][n] for n in params}
    values = [float(loss(there)) for loss in losses]
    np.testing.assert_allclose(surface.values["loss"][i, j], values, rtol=1e-13)
    right = [loss.outputs(there).argmax(1) == loss.batch.targets for loss in losses]
    np.testing.assert_allclose(surface.values["accuracy"][i, j], [r.double().mean() for r in right])
    assert surface["loss"][i, j] == pytest.approx(np.mean(values))


def surface_of(losses, params, directions, folder, points=5):
    axes = [surfaces.axis(points, span) for span in (1.0, 0.5)[: len(directions)]]

    def measure(point):
        return surfaces.measure(losses, surfaces.moved(params, directions, point))

    path = folder / "surface.jsonl"
    surfaces.write(path, header_of(axes), surfaces.grid(axes), measure)
    return load_surface(path)


def header_of(axes, **more):
    words = {"title": "A <net>", "caption": "", "labels": ["a", "b"][: len(axes)], "marks": []}
    return {"asked": {"axes": axes, **more}, **words, "path": None}


def test_rescaled_weights_before_a_norm_have_the_same_filter_normalised_surface(tmp_path):
    net = bn_net()
    net[1].eps = 1e-12
    losses = losses_of(net)
    for scale in (1.0, 7.0):
        params = params_of(net)
        params["0.weight"] *= scale
        directions = [surfaces.random_direction(params, seed) for seed in (1, 2)]
        folder = tmp_path / str(scale)
        folder.mkdir()
        surface_of(losses, params, directions, folder)
    one, other = (load_surface(tmp_path / s / "surface.jsonl") for s in ("1.0", "7.0"))
    np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-9)
    assert np.ptp(one["loss"]) > 0.1


@pytest.mark.parametrize("statistics", ["batch", RUNNING])
def test_a_line_ends_at_the_two_networks_bitwise(statistics):
    nets = [bn_net(0), bn_net(1)]
    for net in nets:
        net.float()
    params = [params_of(net) for net in nets]
    buffers = [dict(net.named_buffers()) for net in nets]
    params[0]["5.weight"] *= 1e4  # start + (end - start) would miss the end by its rounding
    losses = losses_of(nets[0], 2, statistics)
    losses = [Loss(x.model, x.criterion, to_float(x.batch), x.seed, statistics) for x in losses]
    for share in (0.0, 1.0):
        measured = surfaces.measure(
            losses,
            surfaces.interpolated(*params, share),
            surfaces.interpolated(*buffers, share),
        )
        end = int(share)
        own = [
            float(Loss(nets[end], x.criterion, x.batch, x.seed, statistics)(params[end]))
            for x in losses
        ]
        assert measured["loss"] == own


def to_float(batch: Batch) -> Batch:
    return Batch(batch.inputs.float(), batch.targets)


def test_measuring_leaves_the_model_as_it_was_also_when_it_fails():
    net = bn_net()
    net[1].eval()
    losses = losses_of(net, 2, RUNNING)
    losses[0](dict(net.named_parameters())).backward()
    params = params_of(net)
    buffers = {name: buffer + 1 for name, buffer in net.named_buffers()}
    before = state_of(net)
    for given in (None, buffers):
        surfaces.measure(losses, params, given)
        assert same(state_of(net), before)

    def fails(outputs, targets):
        raise RuntimeError("on purpose")

    failing = Loss(net, fails, losses[0].batch, 0, RUNNING)
    with pytest.raises(RuntimeError, match="on purpose"):
        surfaces.measure([failing], params, buffers)
    assert same(state_of(net), before)
    assert torch.is_grad_enabled()


# The file


def test_a_surface_that_was_cut_off_goes_on_to_the_same_bytes(tmp_path):
    path, axes = tmp_path / "surface.jsonl", [surfaces.axis(3, 1.0), surfaces.axis(4, 1.0)]
    points, measured = surfaces.grid(axes), []

    def measure(point):
        measured.append(point)
        return {"loss": [point[0] / 3, math.exp(point[1])]}

    def write():
        measured.clear()
        surfaces.write(path, header_of(axes), points, measure)
        return path.read_bytes()

    whole = write()
    assert points[:2] == [(-1.0, -1.0), (0.0, -1.0)] and measured == points
    assert write() == whole and not measured
    lines = whole.splitlines(keepends=True)
    for kept in (
        b"",
        lines[0][:30],
        lines[0],
        b"".join(lines[:5]),
        b"".join(lines[:5]) + b'{"at":',
    ):
        path.write_bytes(kept)
        assert write() == whole
        assert len(measured) == len(points) - max(0, kept.count(b"\n") - 1)


def test_a_file_of_another_surface_is_refused_and_left(tmp_path):
    path, axes = tmp_path / "surface.jsonl", [surfaces.axis(3, 1.0)]
    surfaces.write(path, header_of(axes, seed=0), surfaces.grid(axes), lambda _: {"loss": [0.0]})
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="another surface \\(seed: 0 there, 1 here\\)"):
        surfaces.write(path, header_of(axes, seed=1), surfaces.grid(axes), lambda _: {})
    assert path.read_bytes() == before
    path.write_text('{"header": {"config": {}}}\n')
    with pytest.raises(ValueError, match="no loss surface"):
        surfaces.write(path, header_of(axes), surfaces.grid(axes), lambda _: {})
    with pytest.raises(ValueError, match="no loss surface"):
        load_surface(path)


def made_up(folder, value, dimensions=2, points=5, **more):
    axes = [surfaces.axis(points, 1.0) for _ in range(dimensions)]
    header = header_of(axes) | more
    path = folder / f"{dimensions}d.jsonl"
    surfaces.write(path, header, surfaces.grid(axes), lambda at: {"loss": [value(at), 2.0]})
    return load_surface(path)


def test_values_that_are_not_finite_are_kept_and_drawn_as_such(tmp_path):
    bad = {-1.0: math.nan, 0.5: math.inf, 1.0: -math.inf}
    surface = made_up(tmp_path, lambda at: bad.get(at[0], 1 + at[0] ** 2))
    text = (tmp_path / "2d.jsonl").read_text()
    assert all(json.dumps(name) in text for name in ("NaN", "Infinity", "-Infinity"))
    row = surface.values["loss"][0, :, 0]
    np.testing.assert_array_equal(row[[0, 3, 4]], [math.nan, math.inf, -math.inf])
    (crosses,) = [line for line in contours(surface).lines if line.get_label() == "not finite"]
    assert len(crosses.get_xdata()) == 15
    assert contours(surface).patch.get_hatch()
    line = made_up(tmp_path, lambda at: bad.get(at[0], 1 + at[0] ** 2), dimensions=1)
    axes = draw(line).axes[0]
    drawn = [line.get_ydata() for line in axes.lines]
    assert np.isnan(drawn[0]).tolist() == [True, False, False, True, True]
    assert len(drawn[1]) == 3
    assert "not finite" in page(surface) and "not finite" in page(line)


def contours(surface):
    return draw(surface).axes[0]


def test_a_surface_of_one_value_is_no_gap(tmp_path):
    flat = made_up(tmp_path, lambda at: 2.0)
    assert len(contours(flat).collections) > 0 and "not finite" not in page(flat)


def test_a_quad_of_the_relief_has_the_colour_of_its_mean(tmp_path):
    """A bowl has the same colours from every side."""
    bowl = made_up(tmp_path, lambda at: at[0] ** 2 + at[1] ** 2)
    height = bowl["loss"]
    colours = surface_plots._colours(Normalize(height.min(), height.max()), height, height)
    assert colours.shape[:2] == (height.shape[0] - 1, height.shape[1] - 1)
    np.testing.assert_allclose(colours, colours[::-1, ::-1])


def test_outputs_that_are_not_numbers_are_wrong():
    net = bn_net()
    (loss,) = losses_of(net, 1)
    params = {name: p.detach().clone() for name, p in net.named_parameters()}
    params["5.bias"][0] = math.nan
    measured = surfaces.measure([loss], params)
    assert measured["accuracy"][0] == 0 and math.isnan(measured["loss"][0])


def test_directions_that_are_not_finite_are_said_to_be():
    long = {"w": torch.full((3,), torch.inf)}
    with pytest.raises(ValueError, match="too long for the precision"):
        surfaces.orthogonal(long, {"w": torch.tensor([1e25, -1e25, 0.0])})


@pytest.mark.parametrize("dimensions", [1, 2])
def test_everything_draws(tmp_path, dimensions):
    marks = [([0.0] * dimensions, "step 3")]
    path = {"steps": [0, 3], "coordinates": [[0.5, 0.5][:dimensions], [0.0] * dimensions]}
    values = {
        "wide": lambda at: 10 ** (6 * at[0]),
        "flat": lambda at: 2.0,
        "zero": lambda at: max(0.0, at[0]),
        "none": lambda at: math.inf,
    }
    for name, value in values.items():
        folder = tmp_path / name
        folder.mkdir()
        surface = made_up(folder, value, dimensions, 3, marks=marks, path=path)
        draw(surface).savefig(folder / "surface.png", dpi=10)
    text = page(surface)
    assert "A &lt;net&gt;" in text and "step 3" in text
    parser = html.parser.HTMLParser()
    sources = []
    parser.handle_starttag = lambda tag, attributes: sources.append(dict(attributes).get("src"))
    parser.feed(text)
    assert not any(sources)  # plotly.js is in the page: nothing is fetched


def own_batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    batches = [loss.batch for loss in losses_of(bn_net())]
    return [(batch.inputs, batch.targets) for batch in batches]


def test_a_surface_of_an_own_network_is_drawn_in_a_call(tmp_path):
    net = bn_net()
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = state_of(net)
    options: Any = {"directions": "eigenvectors", "points": 3, "span": 1e-3}
    criterion = nn.functional.cross_entropy
    figure = surfaces.draw(net, criterion, own_batches(), tmp_path / "own", **options)
    assert same(before, state_of(net))
    assert "eigenvector of" in figure.axes[0].get_xlabel() + figure.axes[1].get_xlabel()
    assert (tmp_path / "own.png").stat().st_size > 5_000
    assert "plotly" in (tmp_path / "own.html").read_text()[-5_000_000:]
    surface = load_surface(tmp_path / "own.jsonl")
    update = observe(net, criterion, *own_batches()[0], later=own_batches()[1:])
    losses = [update.losses(n) for n in (0, 1)]
    vectors, values = surfaces.eigenvector_directions(losses, update.params)
    slopes = [-float(dot(surfaces.gradient_direction(losses, update.params), v)) for v in vectors]
    for (row, column), loss in np.ndenumerate(surface["loss"]):  # its expansion around the middle
        at = [surface.axes[0][column], surface.axes[1][row]]
        expected = surface["loss"][1, 1]
        expected += sum(a * g + a**2 * v / 2 for a, g, v in zip(at, slopes, values, strict=True))
        assert loss == pytest.approx(expected, abs=1e-8)

    whole = (tmp_path / "own.jsonl").read_bytes()
    (tmp_path / "own.jsonl").write_bytes(whole[:-20])  # an interrupted one goes on
    surfaces.draw(net, criterion, own_batches(), tmp_path / "own", **options)
    assert (tmp_path / "own.jsonl").read_bytes() == whole
    with pytest.raises(FileExistsError, match="holds another surface"):
        surfaces.draw(net, criterion, own_batches(), tmp_path / "own", points=3)


@pytest.mark.parametrize("directions", ["random", "gradient", "own"])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_an_own_network_is_drawn_along_any_directions(directions, dimensions):
    net = bn_net()
    given = [surfaces.random_direction(params_of(net), n) for n in range(dimensions)]
    figure = surfaces.draw(
        net,
        nn.functional.cross_entropy,
        own_batches()[:1],
        directions=given if directions == "own" else directions,
        dimensions=dimensions,
        points=3,
        statistics=RUNNING,
    )
    assert figure.get_suptitle().startswith("Sequential: ")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"directions": "pca"}, "directions=pca must be random, gradient or eigenvectors"),
        ({"directions": []}, "directions are 0; they must be one or two"),
        ({"dimensions": 3}, "dimensions=3 must be 1 or 2"),
        ({"points": 2}, "points=2 and span=1.0 must be at least 3, and positive"),
        ({"span": -1}, "points=25 and span=-1 must be at least 3, and positive"),
        ({"batches": []}, "batches is empty; give pairs of inputs and targets"),
    ],
)
def test_a_surface_that_cannot_be_drawn_is_refused(options, says):
    batches = options.get("batches", own_batches()[:1])
    more = {key: value for key, value in options.items() if key != "batches"}
    with pytest.raises(ValueError, match=says):
        surfaces.draw(bn_net(), nn.functional.cross_entropy, batches, **more)


# The command line

TINY = ["wandb.mode=disabled", "progress=none", "model=mlp", "model.hidden=[8]", "probes=[]"]


def test_the_command_draws_a_run_goes_on_and_refuses(zygote, tmp_path, monkeypatch, capsys):
    run = ["train.py", *TINY, "batch_size=16", "steps=2", "test_every=0", "keep_every=1"]
    assert zygote.call(tmp_path, *run).returncode == 0
    (folder,) = tmp_path.glob("results/runs/demo/custom/*")
    small = ["--points", "3", "--batches", "1"]

    # In this process, which has imported torch.
    monkeypatch.chdir(tmp_path)
    command = importlib.import_module("bnstudy.app.surface").main
    words = [*map(str, [folder, *small, "--directions", "pca"])]
    assert command(words) == 0
    pictures = [tmp_path / name for name in capsys.readouterr().out.splitlines()]
    assert [path.suffix for path in pictures] == [".jsonl", ".png", ".html"]
    assert pictures[0].parent == tmp_path / "results/surfaces/demo/custom" / folder.name
    surface = load_surface(pictures[0])
    assert surface["loss"].shape == (3, 3) and surface.header["path"]["steps"] == [0, 1, 2]

    whole = pictures[0].read_bytes()
    pictures[0].write_bytes(whole[:-20])
    assert command(words) == 0
    assert pictures[0].read_bytes() == whole
    assert command([str(folder), *small, "--directions", "eigenvectors", "--dimensions", "1"]) == 0
    assert "eigenvector of" in load_surface(capsys.readouterr().out.split()[-3]).header["labels"][0]
    words = ["--directions", "line", "--step", "0,2", "--statistics", "running"]
    assert command([str(folder), *small, *words, "--dimensions", "1", "--span", "90"]) == 0
    line = load_surface(capsys.readouterr().out.split()[-3])
    assert line.axes[0].tolist() == [-89.5, 0.0, 0.5, 1.0, 90.5]  # both ends are on it
    assert np.isfinite(line["loss"]).all()  # no variance was extrapolated below zero
    for given, sentence in {
        (tmp_path,): "There is no run in",
        (folder, "--step", "7"): "has no weights of step 7: it has those of 0, 1, 2",
        (folder, "--points", "2"): "--points 2 is out of range",
        (folder, "--span", "0"): "--span 0 is out of range",
        (folder, folder): "--directions random takes one run",
        (folder, "model.depth=3"): "model.depth cannot be changed here",
        (folder, "--directions", "pca", "--step", "1"): "keep_every=100 force=true",
        (folder, "--directions", "line"): "needs the two steps",
        (folder, "--batches", "100000"): "is more than all the training data: ",
        (folder, "threads=abc"): "threads=abc must be a whole number",
        (folder, "data.root=["): "data.root=[ is not KEY=VALUE",
    }.items():
        with pytest.raises(SystemExit, match="1"):
            command([*map(str, given)])
        out, error = capsys.readouterr()
        assert sentence in error and error.count("\n") == 1 and not out
    record = folder / "run.jsonl"
    record.write_text(record.read_text().replace('"fingerprint": "', '"fingerprint": "x', 1))
    with pytest.raises(SystemExit, match="1"):
        command([str(folder), "--step", "9"])
    for path in folder.glob("weights/*.pt"):
        path.unlink()
    with pytest.raises(SystemExit, match="1"):
        command([str(folder)])
    assert "missing, torn, or of another config" in capsys.readouterr().err
