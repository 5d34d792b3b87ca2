import numpy as np
import pytest

import kernel_rmsprop
from kernel_rmsprop import update


def arrays(shape=(3, 40), order="C", seed=0):
    rng = np.random.default_rng(seed)
    theta, grad = (np.asarray(rng.standard_normal(shape), np.float32, order=order) for _ in range(2))
    return theta, grad, np.zeros(shape, np.float32, order=order)


def formula(theta, grad, s, lr, rho, eps):
    s = np.float32(rho) * s + np.float32(1 - rho) * grad**2
    return theta - np.float32(lr) / np.sqrt(s + np.float32(eps)) * grad, s


@pytest.mark.parametrize("isa", kernel_rmsprop.isas())
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (33,), (3, 40), (2, 3, 5), (20000,)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_bits_of_the_formula(isa, shape, order):
    before = kernel_rmsprop.isa()
    theta, grad, s = arrays(shape, order)
    want, want_s = theta, s
    try:
        kernel_rmsprop.set_isa(isa)
        for _ in range(5):
            want, want_s = formula(want, grad, want_s, 0.01, 0.9, 1e-7)
            assert update(theta, grad, s, 0.01, 0.9, 1e-7) is None
    finally:
        kernel_rmsprop.set_isa(before)
    np.testing.assert_array_equal(theta, want)
    np.testing.assert_array_equal(s, want_s)
    assert np.size(s) == 0 or np.any(s != 0)


def test_numbers_of_any_type():
    for lr in (1, np.float32(1), np.float64(1), np.int64(1)):
        theta, grad, s = arrays()
        want, _ = formula(theta, grad, s, 1.0, 0.5, 0.25)
        update(theta, grad, s, lr, 0.5, np.float64(0.25))
        np.testing.assert_array_equal(theta, want)


def wrong_order(x):
    return np.asfortranarray(x)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def misaligned(x):
    raw = np.empty(x.nbytes + 1, np.uint8)
    y = raw[1:].view(np.float32).reshape(x.shape)
    y[...] = x
    return y


BAD = {
    "theta-list": ("theta", TypeError, lambda x: x.tolist()),
    "grad-list": ("grad", TypeError, lambda x: x.tolist()),
    "s-none": ("s", TypeError, lambda x: None),
    "theta-masked": ("theta", TypeError, np.ma.masked_array),
    "grad-masked": ("grad", TypeError, np.ma.masked_array),
    "theta-double": ("theta", TypeError, lambda x: x.astype(np.float64)),
    "grad-half": ("grad", TypeError, lambda x: x.astype(np.float16)),
    "s-bytes": ("s", TypeError, lambda x: x.astype(x.dtype.newbyteorder())),
    "theta-read-only": ("theta", ValueError, read_only),
    "s-read-only": ("s", ValueError, read_only),
    "grad-shape": ("grad", ValueError, lambda x: x[:2]),
    "s-shape": ("s", ValueError, lambda x: x.reshape(40, 3)),
    "theta-strided": ("theta", ValueError, lambda x: np.repeat(x, 2, 1)[:, ::2]),
    "grad-order": ("grad", ValueError, wrong_order),
    "s-misaligned": ("s", ValueError, misaligned),
    "grad-misaligned": ("grad", ValueError, misaligned),
    "grad-reversed": ("grad", ValueError, lambda x: x[::-1]),
    "lr-negative": ("lr", ValueError, lambda _: -1e-3),
    "lr-huge": ("lr", ValueError, lambda _: 1e20),
    "lr-beyond-float": ("lr", ValueError, lambda _: 10**400),
    "lr-nan": ("lr", ValueError, lambda _: float("nan")),
    "lr-text": ("lr", TypeError, lambda _: "0.1"),
    "lr-array": ("lr", TypeError, lambda _: np.ones(1)),
    "rho-above": ("rho", ValueError, lambda _: 1.0001),
    "rho-complex": ("rho", TypeError, lambda _: 1j),
    "eps-negative": ("eps", ValueError, lambda _: -1e-9),
    "eps-infinite": ("eps", ValueError, lambda _: float("inf")),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses_and_writes_nothing(case):
    name, kind, make = BAD[case]
    theta, grad, s = arrays()
    s += 1
    call = dict(theta=theta, grad=grad, s=s, lr=0.1, rho=0.9, eps=1e-7)
    call[name] = make(call[name])
    before = {k: np.array(v) for k, v in call.items() if isinstance(v, np.ndarray)}
    with pytest.raises(kind, match=rf"\b{name}\b"):
        update(**call)
    for k, v in before.items():
        np.testing.assert_array_equal(call[k], v)


def test_refuses_overlap():
    x = np.arange(30, dtype=np.float32)
    before = x.copy()
    apart = np.ones(10, np.float32)
    for theta, grad, s, message in (
        (x[:10], x[9:19], apart, "grad overlaps theta"),
        (x[:10], apart, x[:10], "s overlaps theta"),
        (apart, x[5:15], x[10:20], "s overlaps grad"),
    ):
        with pytest.raises(ValueError, match=message):
            update(theta, grad, s, 0.1, 0.9, 1e-7)
    np.testing.assert_array_equal(x, before)
    update(x[:10], x[10:20], x[20:30], 0.1, 0.9, 1e-7)
    assert (x[:10] != before[:10]).any()


def test_set_isa():
    before = kernel_rmsprop.isa()
    for name in kernel_rmsprop.isas():
        kernel_rmsprop.set_isa(name)
        assert kernel_rmsprop.isa() == name
    for name in ("nonsense", " ", "avx2\0", "avx512,avx2"):
        with pytest.raises(ValueError, match="name"):
            kernel_rmsprop.set_isa(name)
    with pytest.raises(TypeError, match="name"):
        kernel_rmsprop.set_isa(None)
    assert kernel_rmsprop.isa() == kernel_rmsprop.isas()[-1] == "generic"
    kernel_rmsprop.set_isa("")
    assert kernel_rmsprop.isa() == kernel_rmsprop.isas()[0]
    kernel_rmsprop.set_isa(before)
