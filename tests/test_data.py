"""Data sets: order, normalisation, augmentation, and reading images from files."""

import io
import os
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bnstudy import data
from bnstudy.data import Batch, DataSet
from bnstudy.tasks import cross_entropy, half_sum_of_squares


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, so that none reads or writes the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache_home"))
    return tmp_path / "cache_home"


def numbered(count: int) -> DataSet:
    """Samples whose input is their own number, so that a batch tells the order."""
    numbers = torch.arange(count, dtype=torch.float64)[:, None]
    return DataSet("numbered", Batch(numbers, numbers), None, half_sum_of_squares)


def colours(count: int, augment: bool = False, size: int = 8) -> DataSet:
    """Random colour images of two classes, the blue channel constant."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    images[:, 2] = 77
    part = Batch(images, torch.arange(count) % 2)
    return data._image_set("colours", part, part, ("a", "b"), augment)


def order(dataset: DataSet, steps: range, batch_size: int, seed: int) -> list[int]:
    batches = [dataset.batch(step, batch_size, seed).inputs.flatten() for step in steps]
    return torch.cat(batches).int().tolist()


# Order


def test_order_is_a_function_of_seed_and_step_alone() -> None:
    dataset = numbered(20)
    first = order(dataset, range(12), 6, seed=3)
    data._order.cache_clear()
    torch.manual_seed(99)
    torch.randn(7)
    backwards = {step: order(dataset, range(step, step + 1), 6, 3) for step in reversed(range(12))}
    assert [number for step in range(12) for number in backwards[step]] == first


def test_batches_leave_the_global_generators_alone() -> None:
    dataset = colours(20, augment=True)
    before, numpy_before = torch.get_rng_state(), repr(np.random.get_state())
    dataset.batch(0, 6, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert repr(np.random.get_state()) == numpy_before


def test_an_epoch_shows_each_sample_at_most_once_and_drops_the_remainder() -> None:
    dataset = numbered(20)
    epochs = [order(dataset, range(3 * epoch, 3 * epoch + 3), 6, seed=0) for epoch in range(30)]
    assert all(len(set(epoch)) == 18 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 30
    assert set().union(*epochs) == set(range(20)), "the dropped samples change from epoch to epoch"


def test_seeds_have_different_orders() -> None:
    dataset = numbered(20)
    orders = {tuple(order(dataset, range(3), 6, seed)) for seed in range(10)}
    assert len(orders) == 10


def test_inputs_and_targets_stay_together() -> None:
    batch = numbered(20).batch(4, 6, seed=1)
    assert torch.equal(batch.inputs, batch.targets)


def test_a_batch_of_everything_keeps_order_and_memory() -> None:
    dataset = numbered(20)
    batch = dataset.batch(5, 20, seed=1)
    assert batch.inputs.data_ptr() == dataset.train.inputs.data_ptr()
    assert order(dataset, range(2), 20, seed=1) == [*range(20), *range(20)]


@pytest.mark.parametrize(
    ("make", "batch_size", "sentence"),
    [
        (
            colours,
            21,
            "batch_size=21 is larger than the 20 training images of colours; it must lie",
        ),
        (numbered, 21, "batch_size=21 is larger than the 20 training samples of numbered; it must"),
        (numbered, 0, "batch_size=0 is smaller than 1; it must lie in 1..20."),
    ],
)
def test_a_batch_size_out_of_range_is_refused(
    make: Callable[[int], DataSet], batch_size: int, sentence: str
) -> None:
    for refuse in (make(20).check_batch_size, lambda size: make(20).batch(0, size, 0)):
        with pytest.raises(ValueError, match=sentence):
            refuse(batch_size)
    make(20).check_batch_size(20)


# Normalisation


def test_training_inputs_are_normalised_per_channel() -> None:
    inputs = colours(40).batch(0, 40, seed=0).inputs.double()
    assert inputs.mean((0, 2, 3)).abs().max() < 1e-6
    expected = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)  # a constant channel stays so
    torch.testing.assert_close(inputs.std((0, 2, 3), correction=0), expected, atol=1e-6, rtol=0)


def test_mean_and_std_are_those_of_the_pixels_as_fractions() -> None:
    dataset = colours(40)
    pixels = dataset.train.inputs.numpy() / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    assert dataset.mean is not None and dataset.std is not None
    assert dataset.mean.shape == dataset.std.shape == (3, 1, 1)
    np.testing.assert_allclose(dataset.mean.flatten(), mean, rtol=1e-6)
    np.testing.assert_allclose(dataset.std.flatten(), [*std[:2], 1.0], rtol=1e-6)


def test_inputs_without_statistics_are_not_normalised() -> None:
    dataset = data.deep_linear()
    assert dataset.mean is None and dataset.std is None
    assert torch.equal(dataset.batch(0, 1000, seed=0).inputs, dataset.train.inputs)


def test_the_raw_data_stay_as_they_are() -> None:
    dataset = colours(20, augment=True)
    raw = dataset.train.inputs.clone()
    dataset.batch(0, 20, seed=0)
    list(dataset.test_batches(7))
    assert dataset.train.inputs.dtype == torch.uint8 and torch.equal(dataset.train.inputs, raw)


def test_test_batches_are_normalised_in_order_and_never_augmented() -> None:
    plain, augmented = colours(20), colours(20, augment=True)
    batches = list(augmented.test_batches(8))
    assert [len(batch.targets) for batch in batches] == [8, 8, 4]
    inputs = torch.cat([batch.inputs for batch in batches])
    assert torch.equal(inputs, plain.batch(0, 20, seed=0).inputs)
    assert torch.equal(torch.cat([batch.targets for batch in batches]), plain.train.targets)
    assert list(data.deep_linear().test_batches(8)) == []


def test_a_test_sample_is_spread_evenly_and_normalised_as_test_batches_are() -> None:
    dataset = colours(20, augment=True)
    by_class = replace(dataset, test=Batch(dataset.train.inputs, torch.arange(20) // 10))
    (everything,) = by_class.test_batches(20)
    sample = by_class.test_sample(6)
    assert sample is not None
    assert torch.equal(sample.inputs, everything.inputs[[0, 3, 6, 10, 13, 16]])
    assert sample.targets.tolist() == [0, 0, 0, 1, 1, 1]
    whole = by_class.test_sample(500)
    assert whole is not None and torch.equal(whole.inputs, everything.inputs)
    assert torch.equal(whole.targets, everything.targets)
    assert data.deep_linear().test_sample(6) is None


# Augmentation


def crops_and_flips(image: Tensor) -> Iterator[Tensor]:
    """All that augmentation may make of an image [C, H, W], by the definition."""
    height, width = image.shape[1:]
    padded = torch.zeros(image.shape[0], height + 8, width + 8)
    padded[:, 4 : 4 + height, 4 : 4 + width] = image
    for top in range(9):
        for left in range(9):
            crop = padded[:, top : top + height, left : left + width]
            yield crop
            yield torch.stack([crop[:, :, width - 1 - column] for column in range(width)], 2)


def which(image: Tensor, original: Tensor) -> int:
    """The one crop and flip of the original that is the image."""
    found = [i for i, one in enumerate(crops_and_flips(original)) if torch.equal(one, image)]
    assert len(found) == 1
    return found[0]


def test_augmented_images_are_crops_and_flips_of_their_own_original() -> None:
    plain, augmented = colours(100), colours(100, augment=True)
    originals, images = (each.batch(4, 60, seed=2).inputs for each in (plain, augmented))
    variants = [which(image, one) for image, one in zip(images, originals, strict=True)]
    assert len(set(variants)) > 30, "images of a batch have draws of their own"
    assert {variant % 2 for variant in variants} == {0, 1}
    assert {variant // 2 % 9 for variant in variants} == set(range(9))
    assert {variant // 18 for variant in variants} == set(range(9))
    assert torch.equal(plain.batch(4, 60, 2).targets, augmented.batch(4, 60, 2).targets)


def test_crops_and_flips_are_uniform() -> None:
    image = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    images = data._augmented(image.expand(20_000, -1, -1, -1), seed=5)
    expected = list(crops_and_flips(image[0]))
    counts = [int((images == one).all((1, 2, 3)).sum()) for one in expected]
    assert sum(counts) == 20_000
    # 20,000 draws from 162 are 123 each, with a standard deviation of 11
    assert min(counts) > 70 and max(counts) < 180


def test_augmentation_is_a_function_of_seed_and_step_alone() -> None:
    dataset = colours(20, augment=True)
    first = dataset.batch(3, 20, seed=1).inputs
    torch.manual_seed(5)
    dataset.batch(4, 20, seed=1)
    assert torch.equal(dataset.batch(3, 20, seed=1).inputs, first)
    assert not torch.equal(dataset.batch(4, 20, seed=1).inputs, first)
    assert not torch.equal(dataset.batch(3, 20, seed=2).inputs, first)


def test_images_need_not_be_square() -> None:
    images = torch.randn(10, 2, 3, 7, generator=torch.Generator().manual_seed(0))
    for image, original in zip(data._augmented(images, seed=0), images, strict=True):
        assert any(torch.equal(image, one) for one in crops_and_flips(original))


# Data sets without files


def test_digits() -> None:
    dataset = data.digits()
    assert dataset.name == "digits" and dataset.classes == tuple("0123456789")
    assert dataset.input_shape == (1, 32, 32) and dataset.num_outputs == 10
    assert dataset.test is not None
    assert len(dataset.train.targets) == 1500 and len(dataset.test.targets) == 297
    for part in (dataset.train, dataset.test):
        shares = torch.bincount(part.targets, minlength=10) / len(part.targets)
        assert part.targets.dtype == torch.int64 and 0.09 < shares.min() < shares.max() < 0.11
    assert dataset.criterion is cross_entropy
    inputs = dataset.batch(0, 1500, seed=0).inputs
    assert inputs.dtype == dataset.dtype == torch.float32
    assert abs(inputs.mean()) < 1e-4 and abs(inputs.std() - 1) < 1e-3


@pytest.mark.parametrize("held_out", [10, 100, 297, 500, 1787])
def test_digits_and_their_split_are_those_of_scikit_learn(held_out: int) -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    selection = pytest.importorskip("sklearn.model_selection")
    pixels, targets = datasets.load_digits(return_X_y=True)
    parts = selection.train_test_split(
        np.arange(1797), test_size=held_out, random_state=0, stratify=targets
    )
    dataset = data.digits(image_size=8, held_out=held_out)
    assert dataset.test is not None
    for part, found in zip(parts, (dataset.train, dataset.test), strict=True):
        images = torch.from_numpy(pixels[part]).float().reshape(-1, 1, 8, 8)
        assert torch.equal(found.inputs, (images * (255 / 16)).round().to(torch.uint8))
        assert found.targets.tolist() == targets[part].tolist()


def test_the_digest_of_the_digits_stays() -> None:
    """Records have it: by it runs of earlier versions are told to be on the same data."""
    assert data.digits().digest == "afcf40e278273726"


def test_digits_are_resized_by_interpolation() -> None:
    small, large = (data.digits(image_size=size).train.inputs.double() for size in (8, 16))
    blocks = F.avg_pool2d(large, 2)
    weights = torch.tensor([1.0, 6.0, 1.0], dtype=torch.float64) / 8  # of a block's mean, bilinear
    kernel = (weights[:, None] * weights)[None, None]
    expected = F.conv2d(F.pad(small, (1, 1, 1, 1), mode="replicate"), kernel)
    assert (blocks - expected).abs().max() < 1


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: data.digits(image_size=0), "data.image_size=0 is too small; it must be 1"),
        (
            lambda: data.digits(held_out=9),
            "data.held_out=9 is out of range; it must lie in 10..1787",
        ),
        (lambda: data.digits(held_out=1788), "data.held_out=1788 is out of range; it must"),
        (lambda: data.deep_linear(dim=0), "data.dim=0 is too small; it must be 1 or more"),
        (lambda: data.deep_linear(samples=0), "data.samples=0 is too small; it must be 1"),
    ],
)
def test_numbers_out_of_range_are_refused(make: Callable[[], DataSet], fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        make()


def test_deep_linear_targets_are_a_matrix_times_the_inputs() -> None:
    dataset = data.deep_linear(dim=10, samples=1000, seed=4)
    inputs, targets = dataset.train.inputs, dataset.train.targets
    assert inputs.dtype == targets.dtype == dataset.dtype == torch.float64
    assert dataset.input_shape == (10,) and dataset.num_outputs == 10 and dataset.test is None
    matrix = torch.linalg.lstsq(inputs, targets).solution.T
    torch.testing.assert_close(
        torch.einsum("ij,nj->ni", matrix, inputs), targets, rtol=0, atol=1e-12
    )
    # 10,000 and 100 standard normal numbers: bounds of five standard deviations
    assert abs(inputs.mean()) < 0.05 and abs(inputs.var() - 1) < 0.07
    assert abs(matrix.mean()) < 0.5 and abs(matrix.var() - 1) < 0.71
    covariance = inputs.T @ inputs / 1000 - torch.eye(10)
    assert covariance.abs().max() < 0.25


def test_deep_linear_is_a_function_of_its_seed() -> None:
    torch.manual_seed(1)
    first = data.deep_linear(seed=0)
    torch.manual_seed(2)
    assert data.deep_linear(seed=0).digest == first.digest
    assert data.deep_linear(seed=1).digest != first.digest


def test_half_sum_of_squares_by_hand() -> None:
    outputs, targets = (
        torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        torch.tensor([[0.0, 2.0], [1.0, 1.0]]),
    )
    assert half_sum_of_squares(outputs, targets) == 0.5 * (1 + 0 + 4 + 9)
    assert data.deep_linear().criterion is half_sum_of_squares


# What a record says of the data


def test_digest_changes_with_the_data_only() -> None:
    first = colours(20)
    assert colours(20).digest == first.digest == first.to("cpu").digest
    assert re.fullmatch("[0-9a-f]{16}", first.digest)
    others = [colours(20), colours(20), colours(20), colours(20)]
    others[0].train.inputs[3, 1, 2, 2] += 1
    others[1].train.targets[0] += 1
    others[2] = DataSet("colours", first.train, None, first.criterion, first.classes)
    reshaped = Batch(first.train.inputs.reshape(20, 3, 4, 16), first.train.targets)
    others[3] = DataSet("colours", reshaped, first.test, first.criterion, first.classes)
    assert len({first.digest, *(other.digest for other in others)}) == 5


def test_facts_name_the_data() -> None:
    facts = colours(20).facts()
    assert facts.name == "colours" and facts.digest == colours(20).digest
    assert facts.train_samples == facts.test_samples == 20
    assert data.deep_linear().facts().test_samples == 0
    assert (facts.task, data.deep_linear().facts().task) == ("classification", "regression")


def test_to_moves_every_tensor() -> None:
    moved = colours(20, augment=True).to("meta")
    assert moved.test is not None and moved.mean is not None and moved.std is not None
    tensors = [moved.train.inputs, moved.train.targets, moved.test.inputs, moved.test.targets]
    assert all(tensor.device.type == "meta" for tensor in [*tensors, moved.mean, moved.std])
    assert moved.augment and moved.classes == ("a", "b")
    assert data.deep_linear().to("meta").test is None


# Images in folders


def write_images(root: Path, sizes: dict[str, tuple[int, int]] | None = None) -> Path:
    """Four grey PNG and JPEG images in two classes, two for training and two for testing."""
    names = ("train/cat/a.png", "train/dog/b.jpg", "test/cat/c.PNG", "test/dog/d.jpeg")
    for shade, name in enumerate(names, 1):
        write_image(root / name, shade, (sizes or {}).get(name, (6, 5)))
    return root


def write_image(path: Path, shade: int, size: tuple[int, int] = (6, 5)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> None:
        raise AssertionError(f"{path} was decoded, not taken from the cache")

    monkeypatch.setattr(data, "_read_image", fail)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*bnstudy*"))


def test_image_folder_reads_images_and_classes(tmp_path: Path) -> None:
    root = write_images(tmp_path / "pets")
    write_image(root / "train/dog/nested/z.png", 9)
    Image.new("L", (6, 5), 200).save(root / "train/cat/grey.png")
    dataset = data.image_folder(root)
    assert dataset.name == "image_folder:pets" and dataset.classes == ("cat", "dog")
    assert dataset.input_shape == (3, 5, 6) and dataset.num_outputs == 2
    assert dataset.train.inputs.dtype == torch.uint8 and dataset.test is not None
    assert dataset.train.inputs[:, 0, 2, 3].tolist() == [1, 200, 2]  # nested folders are no classes
    assert dataset.train.inputs[1].unique().tolist() == [200]
    assert dataset.train.targets.tolist() == [0, 0, 1]
    assert dataset.test.inputs[:, 0, 2, 3].tolist() == [3, 4]
    assert dataset.test.targets.tolist() == [0, 1]
    assert data.image_folder(root, name="Pets").name == "Pets"


def test_pixels_are_where_they_were(tmp_path: Path) -> None:
    root = write_images(tmp_path)
    pixels = np.random.default_rng(0).integers(256, size=(5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "train/cat/a.png")
    found = data.image_folder(root).train.inputs[0]
    assert np.array_equal(found.permute(1, 2, 0).numpy(), pixels)


def test_hidden_and_other_files_are_ignored(tmp_path: Path) -> None:
    root = write_images(tmp_path / "pets")
    (root / "train/cat/notes.txt").write_text("not an image")
    (root / "train/cat/._a.png").write_text("not an image")
    (root / "train/.thumbnails").mkdir()
    write_image(root / "test/dog/.thumbnails/d.png", 1, size=(2, 2))
    assert len(data.image_folder(root).train.targets) == 2


def test_a_second_time_images_come_from_the_cache(
    tmp_path: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_images(tmp_path / "pets")
    first = data.image_folder(root)
    assert len(leftovers(root)) == 1 and not cache_home.exists()
    forbid_decoding(monkeypatch)
    assert data.image_folder(root).digest == first.digest
    monkeypatch.chdir(tmp_path)
    assert data.image_folder("pets").digest == first.digest
    monkeypatch.chdir(root)
    assert data.image_folder(".").digest == first.digest
    assert data.image_folder(".").name == first.name
    root.rename(tmp_path / "moved")
    assert data.image_folder(tmp_path / "moved").digest == first.digest


@pytest.mark.parametrize("change", ["size", "time", "added", "removed", "renamed"])
def test_changed_files_are_read_again(tmp_path: Path, change: str) -> None:
    root = write_images(tmp_path)
    path = root / "train/cat/extra.png"
    write_image(path, 8)
    status = (root / "train/cat/a.png").stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    first, old = data.image_folder(root), leftovers(root)
    if change == "size":
        write_image(path, 99)
        path.write_bytes(path.read_bytes() + b"longer")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        write_image(path, 9)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        assert path.stat().st_size == status.st_size
    elif change == "added":
        write_image(root / "train/dog/new.png", 9)
    elif change == "removed":
        path.unlink()
    else:  # of two files with the same size and time, the second comes first now
        path.rename(root / "train/cat/Extra.png")
    assert data.image_folder(root).digest != first.digest
    assert len(leftovers(root)) == 1 and leftovers(root) != old, "the stale cache file is gone"


def test_cache_can_lie_elsewhere_and_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cats, dogs, cache = (
        write_images(tmp_path / "cats"),
        write_images(tmp_path / "dogs"),
        tmp_path / "c",
    )
    write_image(dogs / "train/dog/b.jpg", 50)
    digests = [data.image_folder(root, cache=cache).digest for root in (cats, dogs)]
    assert leftovers(cats) == leftovers(dogs) == [] and len(leftovers(cache)) == 2
    write_image(cats / "train/cat/a.png", 60)
    assert data.image_folder(cats, cache=cache).digest not in digests
    assert len(leftovers(cache)) == 2, "only the stale file of the same root goes"
    forbid_decoding(monkeypatch)
    assert data.image_folder(dogs, cache=cache).digest == digests[1]


def refuse_to_write(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """As a read-only folder does; the user who runs the tests may be allowed everything."""
    replace = os.replace

    def guarded(source: Path, target: Path) -> None:
        if any(target.is_relative_to(folder) for folder in folders):
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(data.os, "replace", guarded)


def test_an_unwritable_root_uses_the_users_cache_folder(
    tmp_path: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_images(tmp_path / "pets")
    refuse_to_write(monkeypatch, root)
    first = data.image_folder(root)
    assert leftovers(root) == [] and len(leftovers(cache_home / "bnstudy")) == 1
    forbid_decoding(monkeypatch)
    assert data.image_folder(root).digest == first.digest


def test_without_any_cache_the_images_are_there_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_images(tmp_path / "pets")
    refuse_to_write(monkeypatch, tmp_path)
    assert len(data.image_folder(root).train.targets) == 2
    assert leftovers(root) == [] and "the next run decodes again" in capsys.readouterr().err


def archive(key: str, array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=True, **{key: array})
    return stream.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"\x01\x01\x01", b"\x07\x07\x07"),
        lambda content: b"not a zip file",
        lambda content: pickle.dumps([1, 2]),
        lambda content: archive("other", np.zeros(3)),
        lambda content: archive("images", np.zeros((3, 3, 5, 6), np.uint8)),
        lambda content: archive("images", np.zeros((4, 3, 5, 6))),
        lambda content: archive("images", np.array([None] * 4)),
    ],
    ids=["empty", "torn", "flipped", "text", "pickle", "key", "count", "dtype", "object"],
)
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    root = write_images(tmp_path)
    first = data.image_folder(root)
    (file,) = root.glob(".bnstudy-*.npz")
    content = file.read_bytes()
    file.write_bytes(damage(content))
    assert file.read_bytes() != content
    assert data.image_folder(root).digest == first.digest
    assert file.read_bytes() == content


def test_decoding_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_images(tmp_path)
    data.image_folder(root)
    assert capsys.readouterr().err == f"Decoding 4 images in {root}\n"
    data.image_folder(root)
    assert capsys.readouterr().err == ""


def test_decoding_shows_a_bar_on_a_terminal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_images(tmp_path / "[/pets]")  # looks like markup to rich
    monkeypatch.setattr(data.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "300")
    data.image_folder(root)
    shown = capsys.readouterr().err
    assert "100%" in shown and "[/pets]" in shown
    assert not shown.startswith("Decoding"), "no line besides the bar"


def remove(root: Path, folder: str) -> None:
    for path in sorted((root / folder).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / folder).rmdir()


def truncate(path: Path) -> None:
    noise = np.random.default_rng(0).integers(256, size=(5, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-40])


def save_16_bits(path: Path) -> None:
    Image.fromarray(np.full((5, 6), 40_000, np.uint16)).save(path)


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (
            lambda root: remove(root, "."),
            FileNotFoundError,
            "There is no folder {root}/train; data.root",
        ),
        (
            lambda root: remove(root, "train"),
            FileNotFoundError,
            "no folder {root}/train; data.root",
        ),
        (lambda root: remove(root, "test"), FileNotFoundError, "no folder {root}/test; data.root"),
        (lambda root: remove(root, "test/dog"), ValueError, "{root}: .* the same classes; .*: dog"),
        (lambda root: write_image(root / "test/eel/x.png", 1), ValueError, "same classes; .*: eel"),
        (lambda root: (root / "train/dog/b.jpg").unlink(), ValueError, "{root}/train/dog is empty"),
        (
            lambda root: [remove(root, "train/cat"), remove(root, "train/dog")],
            ValueError,
            "{root}/train holds no folders; data.root must",
        ),
        (
            lambda root: (root / "test/cat/c.PNG").write_text("no image"),
            ValueError,
            "{root}/test/cat/c.PNG cannot be read .*replace or remove it",
        ),
        (
            lambda root: truncate(root / "train/dog/b.jpg"),
            ValueError,
            "{root}/train/dog/b.jpg cannot be read .*truncated",
        ),
        (
            lambda root: truncate(root / "train/cat/a.png"),
            ValueError,
            "{root}/train/cat/a.png cannot be read",
        ),
        (
            lambda root: save_16_bits(root / "train/cat/a.png"),
            ValueError,
            "{root}/train/cat/a.png cannot be read .*not 8 bits",
        ),
        (
            lambda root: write_image(root / "test/cat/c.PNG", 1, size=(7, 4)),
            ValueError,
            "{root}/test/cat/c.PNG is 7x4 pixels, but {root}/train/cat/a.png is 6x5; all images",
        ),
    ],
)
def test_bad_folders_are_named_and_nothing_is_left_behind(
    tmp_path: Path,
    cache_home: Path,
    spoil: Callable[[Path], object],
    error: type[Exception],
    sentence: str,
) -> None:
    root = write_images(tmp_path / "pets")
    spoil(root)
    with pytest.raises(error, match=sentence.format(root=re.escape(str(root)))) as caught:
        data.image_folder(root)
    assert "\n" not in str(caught.value)
    assert leftovers(tmp_path) == [] and not cache_home.exists()


def test_a_root_must_be_given() -> None:
    with pytest.raises(ValueError, match=r"data\.root is not set; it must be a folder"):
        data.image_folder(None)


# CIFAR


@pytest.mark.parametrize(
    ("make", "name"), [(data.cifar10, "CIFAR-10"), (data.cifar100, "CIFAR-100")]
)
def test_missing_cifar_names_the_ways_out(
    tmp_path: Path, make: Callable[[Path], DataSet], name: str
) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        make(tmp_path / "nowhere")
    sentence = str(caught.value)
    assert sentence.startswith(f"{name} is missing or damaged in data.root={tmp_path}/nowhere")
    ways_out = ("data.download=true", "data.root=DIR", "data=digits", "data=image_folder")
    assert all(way in sentence for way in ways_out) and "\n" not in sentence
    assert not (tmp_path / "nowhere").exists()


def test_a_failed_download_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(FileNotFoundError, match=r"downloaded \(https://www.cs.*: no route to host"):
        data.cifar10(tmp_path, download=True)


def write_cifar(
    root: Path, label_key: str, names_key: str, files: dict[str, int], meta: str
) -> Tensor:
    """Random images in the layout of the published files; the images in order [N, 3, 32, 32]."""
    root.mkdir(parents=True)
    rng, parts = np.random.default_rng(0), []
    for name, count in files.items():
        pixels = rng.integers(256, size=(count, 3 * 32 * 32), dtype=np.uint8)
        content = {"data": pixels, label_key: [index % 10 for index in range(count)]}
        (root / name).write_bytes(pickle.dumps(content))
        parts.append(torch.from_numpy(pixels).reshape(count, 3, 32, 32))
    (root / meta).write_bytes(pickle.dumps({names_key: [f"class {index}" for index in range(10)]}))
    return torch.cat(parts)


@pytest.mark.parametrize("make", [data.cifar10, data.cifar100])
def test_cifar_is_read_from_its_published_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., DataSet]
) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    if make is data.cifar10:
        folder, keys, meta = "cifar-10-batches-py", ("labels", "label_names"), "batches.meta"
        files = {f"data_batch_{index}": 10 for index in range(1, 6)} | {"test_batch": 20}
    else:
        folder, keys, meta = "cifar-100-python", ("fine_labels", "fine_label_names"), "meta"
        files = {"train": 50, "test": 20}
    images = write_cifar(tmp_path / folder, *keys, files, meta)
    dataset = make(tmp_path, augment=True)
    assert dataset.test is not None and dataset.augment
    assert torch.equal(dataset.train.inputs, images[:50])
    assert torch.equal(dataset.test.inputs, images[50:])
    assert dataset.train.targets.tolist() == [*range(10)] * 5
    assert dataset.classes[3] == "class 3" and dataset.num_outputs == 10
    assert dataset.name == ("CIFAR-10" if make is data.cifar10 else "CIFAR-100")
    assert dataset.input_shape == (3, 32, 32)
