"""The pool of earlier images: what it returns, how often, and that its state is all there is to it."""

import jaxtyping
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diptych.methods.pool import ImagePool
from tests.contract.test_methods import NoWaiting, PlainPool


def numbered(start, n=1):
    """Images that carry their number."""
    return torch.arange(start, start + n, dtype=torch.float32).view(n, 1, 1, 1).expand(n, 2, 3, 3).clone()


def numbers(images):
    return images[:, 0, 0, 0].tolist()


def test_it_returns_what_it_gets_while_it_fills():
    pool = ImagePool(5, 2, 3, 3)
    for k in range(5):
        assert numbers(pool(numbered(k + 1))) == [k + 1]
    assert numbers(pool.images) == [1, 2, 3, 4, 5] and pool.count == 5


def test_a_full_pool_exchanges_half_of_the_images_for_any_of_those_stored():
    torch.manual_seed(0)
    size, n = 10, 4000
    pool = ImagePool(size, 2, 3, 3)
    pool(numbered(0, size))
    stored, exchanged, slots = list(range(size)), 0, [0] * size
    for k in range(size, size + n):
        (answer,) = numbers(pool(numbered(k)))
        if answer != k:
            slot = stored.index(answer)
            stored[slot] = k
            slots[slot] += 1
            exchanged += 1
        assert numbers(pool.images) == stored
    assert abs(exchanged / n - 0.5) < 4 * 0.5 / n**0.5
    expected = exchanged / size
    assert sum((count - expected) ** 2 / expected for count in slots) < 27.9  # chi^2 of 9 degrees, p = 0.001


def test_it_decides_as_a_plain_implementation_with_the_same_draws():
    pool, plain = ImagePool(4, 2, 3, 3), PlainPool(4)
    for k in range(60):
        images = numbered(3 * k, 1 + k % 3)
        torch.manual_seed(k)
        ours = pool(images)
        torch.manual_seed(k)
        assert torch.equal(ours, plain(images))


def test_a_batch_is_the_same_as_its_images_one_by_one():
    together, single = ImagePool(3, 2, 3, 3), ImagePool(3, 2, 3, 3)
    torch.manual_seed(1)
    of_batch = together(numbered(0, 20))
    torch.manual_seed(1)
    assert torch.equal(of_batch, torch.cat([single(numbered(k)) for k in range(20)]))
    assert torch.equal(together.images, single.images)


def test_size_0_passes_everything_without_gradient():
    images = numbered(0, 4).requires_grad_()
    answer = ImagePool(0, 2, 3, 3)(images)
    assert torch.equal(answer, images) and not answer.requires_grad


def test_no_gradient_reaches_the_images():
    pool = ImagePool(2, 2, 3, 3)
    for k in range(6):
        assert not pool(numbered(k).requires_grad_()).requires_grad


def test_what_was_returned_does_not_change_when_the_pool_does():
    torch.manual_seed(0)
    pool = ImagePool(2, 2, 3, 3)
    answers = [pool(numbered(k)) for k in range(30)]
    before = [numbers(answer) for answer in answers]
    pool.images.zero_()
    assert [numbers(answer) for answer in answers] == before


def test_all_of_it_is_in_the_state_dict():
    pool = ImagePool(3, 2, 3, 3)
    pool(numbered(0, 5))
    copy = ImagePool(3, 2, 3, 3)
    copy.load_state_dict(pool.state_dict())
    for k in range(10, 30):
        torch.manual_seed(k)
        ours = pool(numbered(k))
        torch.manual_seed(k)
        assert torch.equal(ours, copy(numbered(k)))


@pytest.mark.parametrize("size", [0, 3])
def test_it_never_waits_for_the_device(size):
    pool = ImagePool(size, 2, 3, 3)
    with NoWaiting():
        for k in range(8):
            pool(numbered(k, 2))


def test_it_keeps_the_precision_of_what_it_gets():
    pool = ImagePool(1, 2, 3, 3)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert pool(numbered(1, 4).to(dtype)).dtype == dtype


def test_images_that_are_no_batch_are_refused():
    with pytest.raises(jaxtyping.TypeCheckError):
        ImagePool(1, 2, 3, 3)(torch.zeros(2, 3, 3))


class Places(TorchDispatchMode):
    """Notes on which devices tensors are made."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.found |= {tensor.device.type for tensor in tree_leaves(made)}
        return made


def test_its_random_choices_are_made_where_the_images_are():
    pool = ImagePool(2, 2, 3, 3).to("meta")
    images = numbered(0, 3).to("meta")
    with Places() as places:
        assert pool(images).shape == images.shape
    assert places.found == {"meta"}  # from anywhere else they would have to travel
