"""The operations that a program may be made of, and what must be known of each.

A program comes from a peer, so only what stands here runs: mathematics over tensors. Absent on purpose: whatever reads
files or the process (``from_file``), runs code, hands out raw or uninitialized memory (``set_``, ``resize_``,
``as_strided``, ``empty``), writes into given results (``out=`` overloads), or makes shapes out of data (``nonzero``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch

from edged.compute.program import Argument, Operation, Ref
from edged.errors import ProgramRefusedError

_ELEMENTWISE: Final = """
abs absolute acos acosh add addcdiv addcmul arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2
atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil clamp clamp_max
clamp_min clip copysign cos cosh deg2rad digamma div divide eq erf erfc erfinv exp exp2 expm1 fill fix float_power floor
floor_divide fmax fmin fmod frac ge greater greater_equal gt heaviside hypot i0 isclose isfinite isinf isnan isneginf
isposinf ldexp le lerp less less_equal lgamma log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not
logical_or logical_xor logit lt masked_fill maximum minimum mul multiply nan_to_num ne neg negative nextafter not_equal
polygamma positive pow rad2deg real reciprocal remainder round rsqrt rsub sgn sigmoid sign signbit sin sinc sinh sqrt
square sub subtract tan tanh true_divide trunc where xlogy __and__ __or__ __xor__ __lshift__ __rshift__ imag conj
conj_physical resolve_conj resolve_neg complex polar angle view_as_complex view_as_real
"""
_ACTIVATIONS: Final = """
celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax mish prelu relu relu6
rrelu selu silu softmax softplus softshrink threshold _softmax _log_softmax _safe_softmax
"""
_NETWORKS: Final = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
affine_grid_generator avg_pool1d avg_pool2d avg_pool3d batch_norm bilinear channel_shuffle col2im constant_pad_nd
conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d convolution embedding embedding_bag
fractional_max_pool2d grid_sampler grid_sampler_2d grid_sampler_3d group_norm gru gru_cell im2col instance_norm
layer_norm linear lstm lstm_cell max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d
max_pool3d_with_indices max_unpool2d native_batch_norm native_dropout native_group_norm native_layer_norm one_hot pad
pixel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
replication_pad3d rms_norm rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell scaled_dot_product_attention
upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d
upsample_trilinear3d _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d
_upsample_nearest_exact2d _upsample_nearest_exact3d _weight_norm _weight_norm_interface
"""
_LOSSES: Final = """
binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cosine_similarity cross_entropy_loss
ctc_loss hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss multi_margin_loss
multilabel_margin_loss nll_loss nll_loss2d nll_loss_nd pairwise_distance poisson_nll_loss smooth_l1_loss
soft_margin_loss triplet_margin_loss
"""
_SHAPES: Final = """
adjoint alias alias_copy atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors broadcast_to cat chunk clone
column_stack concat concatenate contiguous copy copy_ detach diag diag_embed diagonal dsplit dstack expand expand_as
flatten flip fliplr flipud hsplit hstack lift_fresh_copy mH mT matrix_H meshgrid moveaxis movedim narrow numpy_T permute
ravel repeat repeat_interleave reshape reshape_as roll rot90 select slice split split_with_sizes squeeze stack swapaxes
swapdims sym_numel sym_size sym_stride t tensor_split tile to transpose type_as unbind unflatten unfold unsqueeze view
view_as vsplit vstack _to_copy _unsafe_view _reshape_alias_copy
"""
_INDEXING: Final = """
argsort bucketize diagonal_scatter gather index index_add index_copy index_fill index_put index_reduce index_select
masked_scatter scatter scatter_add scatter_reduce searchsorted select_scatter slice_scatter sort take take_along_dim
topk tril triu msort kthvalue fill_diagonal_
"""
_REDUCTIONS: Final = """
all amax amin aminmax any argmax argmin count_nonzero cummax cummin cumprod cumsum dist logcumsumexp logsumexp max mean
median min mode nanmean nanmedian nansum norm prod quantile nanquantile std std_mean sum sum_to_size trace var var_mean
frobenius_norm diff
"""
_ALGEBRA: Final = """
addbmm addmm addmv addr baddbmm bmm cdist chain_matmul cholesky cross det dot einsum inner inverse kron linalg_cholesky
linalg_cross linalg_det linalg_diagonal linalg_eigh linalg_inv linalg_matmul linalg_matrix_norm linalg_norm linalg_qr
linalg_solve linalg_svd linalg_vecdot linalg_vector_norm logdet matmul matrix_exp mm mv outer pdist slogdet tensordot
vander vdot fft_fft fft_fft2 fft_fftn fft_ifft fft_ifft2 fft_ifftn fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2
fft_rfftn fft_fftshift fft_ifftshift stft istft special_expit special_erf special_erfinv special_log1p
special_log_softmax special_softmax special_xlogy special_entr special_gammaln
"""
_FACTORIES: Final = """
arange bartlett_window blackman_window eye full full_like hamming_window hann_window kaiser_window linspace logspace
new_full new_ones new_zeros ones ones_like scalar_tensor tril_indices triu_indices zero zeros zeros_like
"""
_RANDOM: Final = """
alpha_dropout bernoulli cauchy dropout exponential feature_alpha_dropout feature_dropout geometric log_normal
multinomial normal normal_functional poisson rand rand_like randint randint_like randn randn_like random randperm
uniform
"""

ALLOWED: Final = frozenset(
    name
    for group in (
        _ELEMENTWISE, _ACTIVATIONS, _NETWORKS, _LOSSES, _SHAPES, _INDEXING, _REDUCTIONS, _ALGEBRA, _FACTORIES, _RANDOM,
    )
    for name in group.split()
)  # fmt: skip
"""Names of ATen operations that a program may call; with an underscore at the end also in place."""

SCALAR_OPERATIONS: Final = frozenset(
    f"_operator.{name}"
    for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")
)
"""Arithmetic on sizes."""

_FLIPS: Final[Mapping[str, tuple[int, str, Argument]]] = {
    "batch_norm": (5, "training", False),
    "native_batch_norm": (5, "training", False),
    "instance_norm": (5, "use_input_stats", False),
    "dropout": (2, "train", False),
    "native_dropout": (2, "train", False),
    "feature_dropout": (2, "train", False),
    "alpha_dropout": (2, "train", False),
    "feature_alpha_dropout": (2, "train", False),
    "rrelu": (3, "training", False),
    "scaled_dot_product_attention": (4, "dropout_p", 0.0),
    "lstm.input": (6, "train", False),
    "gru.input": (6, "train", False),
    "rnn_tanh.input": (6, "train", False),
    "rnn_relu.input": (6, "train", False),
    "lstm.data": (7, "train", False),
    "gru.data": (7, "train", False),
    "rnn_tanh.data": (7, "train", False),
    "rnn_relu.data": (7, "train", False),
}
_DROPOUTS: Final[Mapping[str, tuple[int, int]]] = {
    **{f"{kind}dropout": (1, 2) for kind in ("", "native_", "feature_", "alpha_", "feature_alpha_")},
    **{f"{cell}.input": (5, 6) for cell in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
    **{f"{cell}.data": (6, 7) for cell in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
}
"""Positions of the probability and of the training flag: without either, nothing is drawn."""
_STATISTICS: Final[Mapping[str, tuple[int, int]]] = {
    "batch_norm": (3, 4),
    "native_batch_norm": (3, 4),
    "instance_norm": (3, 4),
}


def overload(name: str) -> torch._ops.OpOverload:
    """The ATen overload called ``name`` ("aten.relu.default").

    Raises ``ProgramRefusedError`` if a program may not call it, or this version of torch does not have it.
    """
    room, _, rest = name.partition(".")
    packet, _, kind = rest.partition(".")
    if room != "aten" or not _allowed(packet):
        raise ProgramRefusedError(f"the operation {name} is not one that a program may call")
    found = getattr(getattr(torch.ops.aten, packet, None), kind, None) if kind.isidentifier() else None
    if not isinstance(found, torch._ops.OpOverload):  # noqa: SLF001 -- the class has no public name
        raise ProgramRefusedError(f"this version of torch has no operation {name}")
    if any(a.is_out for a in found._schema.arguments):  # noqa: SLF001 -- torch's only description of an overload
        raise ProgramRefusedError(f"the operation {name} writes into a given result")
    return found


def is_allowed(name: str) -> bool:
    """Whether a program may call the operation ``name``."""
    try:
        return name in SCALAR_OPERATIONS or overload(name) is not None
    except ProgramRefusedError:
        return False


def is_random(name: str, arguments: Sequence[Argument], keywords: Mapping[str, Argument]) -> bool:
    """Whether such a call draws from the generator."""
    if not name.startswith("aten.") or torch.Tag.nondeterministic_seeded not in overload(name).tags:
        return False
    if name.startswith("aten.scaled_dot_product_attention."):
        given = arguments[4] if len(arguments) > 4 else keywords.get("dropout_p", 0.0)  # noqa: PLR2004 -- its position
        return given != 0.0
    packet, _, kind = name.removeprefix("aten.").partition(".")
    packet = packet.removesuffix("_")
    probability, training = _DROPOUTS.get(f"{packet}.{kind}", _DROPOUTS.get(packet, (0, 0)))
    if 0 < training < len(arguments):
        return bool(arguments[training]) and arguments[probability] != 0.0
    return True


def flip_of(
    name: str, arguments: Sequence[Argument], keywords: Mapping[str, Argument]
) -> tuple[tuple[int | str, Argument], ...]:
    """What evaluation changes in such a call: (position or keyword, value) pairs; nothing if it is the same already."""
    packet, _, kind = name.removeprefix("aten.").partition(".")
    packet = packet.removesuffix("_")
    position, keyword, value = _FLIPS.get(f"{packet}.{kind}", _FLIPS.get(packet, (-1, "", None)))
    if packet == "instance_norm" and (len(arguments) <= position or arguments[3] is None):
        return ()
    if 0 <= position < len(arguments) and arguments[position] != value:
        return ((position, value),)
    if keyword in keywords and keywords[keyword] != value:
        return ((keyword, value),)
    return ()


def written(operation: Operation) -> tuple[str, ...]:
    """Names of the values that an operation changes in place: its target, or the running statistics of a norm.

    Of operations that a program may not call as well, as far as torch describes them.
    """
    room, packet, kind = (*operation.name.split("."), "", "")[:3]
    arguments: list[Argument] = []
    if packet in _STATISTICS:
        training = operation.arguments[5] if len(operation.arguments) > 5 else False  # noqa: PLR2004 -- its position
        arguments = [operation.arguments[at] for at in _STATISTICS[packet]] if training else []
    else:
        found = getattr(getattr(getattr(torch.ops, room), packet, None), kind, None) if kind else None
        if isinstance(found, torch._ops.OpOverload):  # noqa: SLF001 -- the class has no public name
            keywords = dict(operation.keywords)
            for at, argument in enumerate(found._schema.arguments):  # noqa: SLF001 -- as above
                if argument.is_write:
                    given = operation.arguments[at : at + 1] or (keywords.get(argument.name),)
                    arguments += given[0] if isinstance(given[0], tuple) else given
    return tuple(argument.name for argument in arguments if isinstance(argument, Ref))


def twin(name: str) -> str:
    """Name of the operation that gives as a new value what ``name`` writes in place; "" if there is none."""
    room, packet, kind = name.split(".") if name.count(".") == 2 else ("", "", "")  # noqa: PLR2004 -- room.packet.kind
    if room != "aten" or not packet.endswith("_") or packet.endswith("__") or packet == "copy_":
        return ""
    other = f"aten.{packet.removesuffix('_')}.{kind}"
    return other if is_allowed(other) else ""


def _allowed(packet: str) -> bool:
    if packet in ALLOWED:
        return True
    return packet.endswith("_") and not packet.endswith("__") and packet.removesuffix("_") in ALLOWED
