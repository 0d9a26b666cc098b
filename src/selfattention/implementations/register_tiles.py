"""Arithmetic on a tile of scores that fits in the registers of one core, as LLVM vector instructions.

A tile is HEIGHT rows of VECTORS vectors each, all of it in registers. A vector holds as many numbers
as one instruction works on: 16 of float32 where the processor has AVX-512, and LLVM spells the same
instructions for any other. Numba compiles loops well, but neither keeps a tile in registers through a
product nor sums or takes maxima in lanes; so these few steps are written down instruction by
instruction, and everything around them, in `numba_tiled`, is an ordinary loop.

Every function takes flat arrays and the index of a tile's first number. `a_row` is the distance from
a row of A to the next; what is written in capitals is the array.
"""

import math

import numpy as np

from selfattention.extras import needed

with needed():
    from llvmlite import binding, ir
    from numba import njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic, overload

_FEATURES = binding.get_host_cpu_features()
VECTOR_BYTES = 64 if _FEATURES.get("avx512f") else 32 if _FEATURES.get("avx2") else 16
HEIGHT = 4
# 16 accumulators where there are 32 registers, 8 where there are 16. A fused multiply-add takes four
# cycles and two start in each, so that fewer than 8 would leave the processor waiting.
VECTORS = 4 if VECTOR_BYTES == 64 else 2


def tile_width(X):
    """The columns of a tile for numbers like those of an array (or of a dtype)."""
    return VECTORS * VECTOR_BYTES // X.itemsize


@overload(tile_width)
def _tile_width(X):  # compiled: a constant, known before the loops are
    width = VECTORS * VECTOR_BYTES * 8 // X.dtype.bitwidth
    return lambda X: width


class Vectors:
    """Writes vector instructions for one element type."""

    def __init__(self, context, builder, element):
        self.context, self.builder = context, builder
        self.element = ir.FloatType() if element == types.float32 else ir.DoubleType()
        self.bytes, self.mantissa, self.terms = (4, 23, 9) if element == types.float32 else (8, 52, 16)
        self.lanes = VECTOR_BYTES // self.bytes
        self.vector = ir.VectorType(self.element, self.lanes)
        self.integers = ir.VectorType(ir.IntType(8 * self.bytes), self.lanes)

    def at(self, array, *offsets):
        """The address of an element of an array (a pair: Numba's type and value)."""
        pointer = self.context.make_array(array[0])(self.context, self.builder, array[1]).data
        for offset in offsets:
            pointer = self.builder.gep(pointer, [offset])
        return pointer

    def times(self, index, factor):
        return self.builder.mul(index, ir.Constant(index.type, factor))

    def load(self, pointer, vector=0):
        pointer = self.builder.gep(pointer, [ir.Constant(ir.IntType(64), vector * self.lanes)])
        return self.builder.load(self.builder.bitcast(pointer, self.vector.as_pointer()), align=self.bytes)

    def store(self, value, pointer, vector=0):
        pointer = self.builder.gep(pointer, [ir.Constant(ir.IntType(64), vector * self.lanes)])
        pointer = self.builder.bitcast(pointer, self.vector.as_pointer())
        self.builder.store(value, pointer, align=self.bytes)

    def constant(self, x):
        return ir.Constant(self.vector, [x] * self.lanes)

    def spread(self, scalar):
        """One number in all lanes."""
        undefined = ir.Constant(ir.VectorType(scalar.type, self.lanes), ir.Undefined)
        first = ir.Constant(ir.IntType(32), 0)
        one = self.builder.insert_element(undefined, scalar, first)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, undefined, zeros)

    def call(self, name, *arguments):
        """One of LLVM's own functions, for this vector type."""
        function = ir.FunctionType(self.vector, [x.type for x in arguments])
        name = f"llvm.{name}.v{self.lanes}f{8 * self.bytes}"
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, function, name), arguments
        )

    def fma(self, a, b, c):
        return self.call("fma", a, b, c)

    def tree(self, combine, values):
        """All values combined in pairs, so that no chain is longer than it must be."""
        while len(values) > 1:
            values = [combine(*pair) for pair in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    def larger(self, a, b):
        """Of two, lane by lane, in one instruction; of NaN and a number, either."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def highest(self, values):
        return self.tree(self.larger, values)

    def across(self, combine, x):
        """All lanes of a vector combined, half after half turned onto the other."""
        step = self.lanes // 2
        while step:
            turned = [(lane + step) % self.lanes for lane in range(self.lanes)]
            turned = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), turned)
            x, step = combine(x, self.builder.shuffle_vector(x, x, turned)), step // 2
        return self.builder.extract_element(x, ir.Constant(ir.IntType(32), 0))

    def sum(self, values):
        return self.tree(self.builder.fadd, values)

    def tanh(self, x):
        """(e^{2x} − 1) / (e^{2x} + 1), right to some units in its last place, of small x as well.

        e^{2x} = 2^k 2^f, and e^{2x} − 1 = 2^k (2^f − 1) + (2^k − 1): the series of 2^f − 1 begins with f, so
        that nothing cancels where k is 0. Beyond ±20 all is ±1; and NaN, which nobody may see, is 1.
        """
        b, most = self.builder, self.constant(20.0)
        x = self.call("maxnum", self.call("minnum", x, most), self.constant(-20.0))
        magic, log2e = self.constant(1.5 * 2**self.mantissa), self.constant(2 * math.log2(math.e))
        rounded = self.fma(x, log2e, magic)
        f = self.fma(x, log2e, b.fsub(magic, rounded))
        *lower, p = (self.constant(math.log(2) ** k / math.factorial(k)) for k in range(1, self.terms))
        for c in reversed(lower):
            p = self.fma(p, f, c)
        one, places = self.constant(1.0), ir.Constant(self.integers, [self.mantissa] * self.lanes)
        exponent = b.shl(b.bitcast(rounded, self.integers), places)
        power = b.bitcast(b.add(b.bitcast(one, self.integers), exponent), self.vector)
        grown = self.fma(power, b.fmul(p, f), b.fsub(power, one))
        return b.fdiv(grown, b.fadd(grown, self.constant(2.0)))

    def polynomial(self, f):
        """2^f for f in [−½, ½]."""
        *lower, p = (self.constant(float(c)) for c in _coefficients(self.element))
        for c in reversed(lower):
            p = self.fma(p, f, c)
        return p

    def exp(self, x):
        """e^x = 2^k 2^f, k the integer next to x log₂ e: a polynomial for 2^f, and k added to its exponent.

        Adding 1.5 · 2^mantissa rounds x log₂ e to an integer and leaves k in the lowest bits. x log₂ e
        itself is never rounded: that would cost large x their last digits. Below the smallest exponent
        the result is 0, as it is for −inf and for NaN.
        """
        b = self.builder
        magic, log2e = self.constant(1.5 * 2**self.mantissa), self.constant(math.log2(math.e))
        rounded = self.fma(x, log2e, magic)
        p = self.polynomial(self.fma(x, log2e, b.fsub(magic, rounded)))
        exponent = b.shl(
            b.bitcast(rounded, self.integers), ir.Constant(self.integers, [self.mantissa] * self.lanes)
        )
        power = b.bitcast(b.add(b.bitcast(p, self.integers), exponent), self.vector)
        smallest = self.constant((-126.0 if self.bytes == 4 else -1022.0) * math.log(2))
        return b.select(b.fcmp_ordered(">=", x, smallest), power, self.constant(0.0))


def _coefficients(element):
    """2^f for f in [−½, ½] as a polynomial, lowest power first, to the last digit or so.

    For float32 from the values at Chebyshev's points, which needs the fewest terms; those values are
    float64 themselves, so for float64 it is the plain series.
    """
    if element == ir.FloatType():
        fit = np.polynomial.Chebyshev.interpolate(np.exp2, 5, domain=[-0.5, 0.5])
        return fit.convert(kind=np.polynomial.Polynomial).coef
    return [math.log(2) ** k / math.factorial(k) for k in range(14)]


def pairs_of(signature, arguments):
    return list(zip(signature.args, arguments, strict=True))


def _product(vectors, add):
    """C = A B or C += A B for a tile of C, HEIGHT rows of `vectors` vectors, which stays in registers.

    A narrow tile has too few sums at work, each waiting for its last addition. So it keeps as many partial
    sums of every number as a whole tile has vectors to one of its own.
    """
    parts = VECTORS // vectors

    @intrinsic
    def product(typing, C, c, c_row, A, a, a_row, a_step, B, b, b_row, depth):
        signature = types.void(C, c, c_row, A, a, a_row, a_step, B, b, b_row, depth)

        def write(context, builder, signature, arguments):
            C, c, c_row, A, a, a_row, a_step, B, b, b_row, depth = pairs_of(signature, arguments)
            v = Vectors(context, builder, C[0].dtype)
            rows = [v.at(C, c[1], v.times(c_row[1], i)) for i in range(HEIGHT)]
            new = cgutils.alloca_once
            tile = [[[new(builder, v.vector) for _ in range(vectors)] for _ in rows] for _ in range(parts)]
            for part, sums in enumerate(tile):
                for row, totals in zip(rows, sums, strict=True):
                    for u, total in enumerate(totals):
                        builder.store(v.load(row, u) if add and part == 0 else v.constant(0.0), total)

            def add_step(place, sums):
                step = builder.mul(place, a_step[1])
                along = v.at(B, b[1], builder.mul(place, b_row[1]))
                right = [v.load(along, u) for u in range(vectors)]
                for i, totals in enumerate(sums):
                    left = v.spread(builder.load(v.at(A, a[1], v.times(a_row[1], i), step)))
                    for x, total in zip(right, totals, strict=True):
                        builder.store(v.fma(left, x, builder.load(total)), total)

            even = v.times(builder.sdiv(depth[1], number(parts)), parts)
            with cgutils.for_range_slice(builder, number(0), even, number(parts), inc=True) as (place, _):
                for part, sums in enumerate(tile):
                    add_step(builder.add(place, number(part)), sums)
            with cgutils.for_range_slice(builder, even, depth[1], number(1), inc=True) as (place, _):
                add_step(place, tile[0])
            for i, row in enumerate(rows):
                for u in range(vectors):
                    v.store(v.sum([builder.load(sums[i][u]) for sums in tile]), row, u)
            return context.get_dummy_value()

        return signature, write

    return product


_wide, _wide_add = _product(VECTORS, False), _product(VECTORS, True)
_pair_add, _single_add = _product(2, True), _product(1, True)


@njit(nogil=True, forceinline=True)
def product(C, c, c_row, A, a, a_row, a_step, B, b, b_row, depth):
    """C = A B: one tile of C, A (HEIGHT, depth), B (depth, width)."""
    _wide(C, c, c_row, A, a, a_row, a_step, B, b, b_row, depth)


@njit(nogil=True, forceinline=True)
def add_product(C, c, c_row, A, a, a_row, a_step, B, b, b_row, depth, vectors):
    """C += A B for HEIGHT rows of C, `vectors` vectors wide: whole tiles, then two vectors, then one."""
    lanes = tile_width(C) // VECTORS
    done = vectors // VECTORS * VECTORS
    for u in range(0, done, VECTORS):
        _wide_add(C, c + u * lanes, c_row, A, a, a_row, a_step, B, b + u * lanes, b_row, depth)
    for u in range(done, vectors - 1, 2):
        _pair_add(C, c + u * lanes, c_row, A, a, a_row, a_step, B, b + u * lanes, b_row, depth)
    if vectors % 2:
        u = vectors - 1
        _single_add(C, c + u * lanes, c_row, A, a, a_row, a_step, B, b + u * lanes, b_row, depth)


def _each_row(v, S, s, s_row):
    """(row number, its address, its vectors) of a tile."""
    for i in range(HEIGHT):
        row = v.at(S, s[1], v.times(s_row[1], i))
        yield i, row, [v.load(row, u) for u in range(VECTORS)]


def number(i):
    return ir.Constant(ir.IntType(64), i)


@intrinsic
def _exceeds(typing, S, s, s_row, c, x, slack):
    signature = types.boolean(S, s, s_row, c, x, slack)

    def write(context, builder, signature, arguments):
        S, s, s_row, c, x, slack = pairs_of(signature, arguments)
        v = Vectors(context, builder, S[0].dtype)
        found = []
        for i, _, row in _each_row(v, S, s, s_row):
            limit = builder.fadd(builder.load(v.at(c, x[1], number(i))), slack[1])
            found.append(builder.fcmp_ordered(">", v.highest(row), v.spread(limit)))
        anywhere = v.tree(builder.or_, found)
        bits = builder.bitcast(anywhere, ir.IntType(v.lanes))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return signature, write


@njit(nogil=True, forceinline=True)
def exceeds(S, s, s_row, c, x, slack):
    """Is some score of a tile above its row's c + slack?"""
    return _exceeds(S, s, s_row, c, x, slack)


@intrinsic
def _maxima(typing, S, s, s_row, out):
    signature = types.void(S, s, s_row, out)

    def write(context, builder, signature, arguments):
        S, s, s_row, out = pairs_of(signature, arguments)
        v = Vectors(context, builder, S[0].dtype)
        for i, _, row in _each_row(v, S, s, s_row):
            builder.store(v.across(v.larger, v.highest(row)), v.at(out, number(i)))
        return context.get_dummy_value()

    return signature, write


@njit(nogil=True, forceinline=True)
def maxima(S, s, s_row, out):
    """The largest score of every row of a tile."""
    _maxima(S, s, s_row, out)


@intrinsic
def _sum_across(typing, X, x):
    def write(context, builder, signature, arguments):
        X, x = pairs_of(signature, arguments)
        v = Vectors(context, builder, X[0].dtype)
        return v.across(builder.fadd, v.load(v.at(X, x[1])))

    return X.dtype(X, x), write


@njit(nogil=True, forceinline=True)
def sum_across(X, x):
    """The sum of a vector's numbers."""
    return _sum_across(X, x)


@intrinsic
def _exponentials(typing, S, s, s_row, c, x, Z):
    signature = types.void(S, s, s_row, c, x, Z)

    def write(context, builder, signature, arguments):
        S, s, s_row, c, x, Z = pairs_of(signature, arguments)
        v = Vectors(context, builder, S[0].dtype)
        for i, address, row in _each_row(v, S, s, s_row):
            shift = v.spread(builder.load(v.at(c, x[1], number(i))))
            E = [v.exp(builder.fsub(score, shift)) for score in row]
            for u, e in enumerate(E):
                v.store(e, address, u)
            sums = v.at(Z, v.times(builder.add(x[1], number(i)), v.lanes))
            v.store(builder.fadd(v.load(sums), v.sum(E)), sums)
        return context.get_dummy_value()

    return signature, write


@njit(nogil=True, forceinline=True)
def exponentials(S, s, s_row, c, x, Z):
    """S becomes e^(S − c), c one number per row; its sums are added to Z, a vector of sums per row."""
    _exponentials(S, s, s_row, c, x, Z)


@intrinsic
def _weights_and_slopes(typing, S, D, s, s_row, L, delta, x):
    signature = types.void(S, D, s, s_row, L, delta, x)

    def write(context, builder, signature, arguments):
        S, D, s, s_row, L, delta, x = pairs_of(signature, arguments)
        v = Vectors(context, builder, S[0].dtype)
        for (i, A_at, scores), (_, D_at, dA) in zip(
            _each_row(v, S, s, s_row), _each_row(v, D, s, s_row), strict=True
        ):
            shift, mean = (v.spread(builder.load(v.at(per_row, x[1], number(i)))) for per_row in (L, delta))
            for u in range(VECTORS):
                A = v.exp(builder.fsub(scores[u], shift))
                v.store(A, A_at, u)
                v.store(builder.fmul(A, builder.fsub(dA[u], mean)), D_at, u)
        return context.get_dummy_value()

    return signature, write


@njit(nogil=True, forceinline=True)
def weights_and_slopes(S, D, s, s_row, L, delta, x):
    """S becomes the weights A = e^(S − L), and D, which held dA, becomes dS = A (dA − delta)."""
    _weights_and_slopes(S, D, s, s_row, L, delta, x)


@intrinsic
def _add_vector(typing, S, s, X, x):
    signature = types.void(S, s, X, x)

    def write(context, builder, signature, arguments):
        S, s, X, x = pairs_of(signature, arguments)
        v = Vectors(context, builder, S[0].dtype)
        place = v.at(S, s[1])
        v.store(builder.fadd(v.load(place), v.load(v.at(X, x[1]))), place)
        return context.get_dummy_value()

    return signature, write


def add_row(S, s, row):
    """A row of numbers added to S, from s on."""


@overload(add_row, inline="always")
def _add_row(S, s, row):
    if row.layout != "C":  # spread over an axis: its numbers do not lie side by side

        def one_by_one(S, s, row):
            for t in range(len(row)):
                S[s + t] += row[t]

        return one_by_one

    def in_vectors(S, s, row):
        lanes = tile_width(S) // VECTORS
        whole = len(row) // lanes * lanes
        for t in range(0, whole, lanes):
            _add_vector(S, s + t, row, t)
        for t in range(whole, len(row)):
            S[s + t] += row[t]

    return in_vectors


@intrinsic
def _cap(typing, S, s, s_row, limit):
    signature = types.void(S, s, s_row, limit)

    def write(context, builder, signature, arguments):
        S, s, s_row, limit = pairs_of(signature, arguments)
        v = Vectors(context, builder, S[0].dtype)
        C = v.spread(limit[1])
        for _, address, row in _each_row(v, S, s, s_row):
            for u, score in enumerate(row):
                v.store(builder.fmul(v.tanh(builder.fdiv(score, C)), C), address, u)
        return context.get_dummy_value()

    return signature, write


@njit(nogil=True, forceinline=True)
def cap(S, s, s_row, limit):
    """S becomes C tanh(S / C), C the limit."""
    _cap(S, s, s_row, limit)


@intrinsic
def _cap_and_slopes(typing, S, s, s_row, limit, T, t_row):
    signature = types.void(S, s, s_row, limit, T, t_row)

    def write(context, builder, signature, arguments):
        S, s, s_row, limit, T, t_row = pairs_of(signature, arguments)
        v = Vectors(context, builder, S[0].dtype)
        C, one = v.spread(limit[1]), v.constant(1.0)
        for i, address, row in _each_row(v, S, s, s_row):
            slopes = v.at(T, v.times(t_row[1], i))
            for u, score in enumerate(row):
                tanh = v.tanh(builder.fdiv(score, C))
                v.store(builder.fmul(tanh, C), address, u)
                v.store(v.fma(builder.fneg(tanh), tanh, one), slopes, u)
        return context.get_dummy_value()

    return signature, write


@njit(nogil=True, forceinline=True)
def cap_and_slopes(S, s, s_row, limit, T, t_row):
    """S becomes C tanh(S / C), C the limit, and T, a tile by itself, the slopes 1 − tanh²."""
    _cap_and_slopes(S, s, s_row, limit, T, t_row)


@intrinsic
def _multiply(typing, S, s, s_row, T, t_row):
    signature = types.void(S, s, s_row, T, t_row)

    def write(context, builder, signature, arguments):
        S, s, s_row, T, t_row = pairs_of(signature, arguments)
        v = Vectors(context, builder, S[0].dtype)
        for i, address, row in _each_row(v, S, s, s_row):
            factors = v.at(T, v.times(t_row[1], i))
            for u, x in enumerate(row):
                v.store(builder.fmul(x, v.load(factors, u)), address, u)
        return context.get_dummy_value()

    return signature, write


@njit(nogil=True, forceinline=True)
def multiply(S, s, s_row, T, t_row):
    """S times T, number by number; T is a tile by itself."""
    _multiply(S, s, s_row, T, t_row)


@intrinsic
def _forbid_row(typing, S, s, seen, at):
    signature = types.void(S, s, seen, at)

    def write(context, builder, signature, arguments):
        S, s, seen, at = pairs_of(signature, arguments)
        v = Vectors(context, builder, S[0].dtype)
        row, bytes_ = v.at(S, s[1]), ir.VectorType(ir.IntType(8), v.lanes)
        for u in range(VECTORS):
            address = v.at(seen, at[1], number(u * v.lanes))
            mask = builder.load(builder.bitcast(address, bytes_.as_pointer()), align=1)
            visible = builder.icmp_unsigned("!=", mask, ir.Constant(bytes_, [0] * v.lanes))
            v.store(builder.select(visible, v.load(row, u), v.constant(-math.inf)), row, u)
        return context.get_dummy_value()

    return signature, write


@njit(nogil=True, forceinline=True)
def forbid_row(S, s, seen, at):
    """−inf in a row of a tile where its mask, from seen[at] on, is 0."""
    _forbid_row(S, s, seen, at)


@intrinsic
def _forbid_beyond(typing, S, s, s_row, keys):
    signature = types.void(S, s, s_row, keys)

    def write(context, builder, signature, arguments):
        S, s, s_row, keys = pairs_of(signature, arguments)
        v = Vectors(context, builder, S[0].dtype)
        wide = ir.VectorType(ir.IntType(32), v.lanes)
        count = v.spread(builder.trunc(keys[1], ir.IntType(32)))
        places = [range(u * v.lanes, (u + 1) * v.lanes) for u in range(VECTORS)]
        inside = [builder.icmp_signed("<", ir.Constant(wide, list(place)), count) for place in places]
        for _, address, row in _each_row(v, S, s, s_row):
            for u, score in enumerate(row):
                v.store(builder.select(inside[u], score, v.constant(-math.inf)), address, u)
        return context.get_dummy_value()

    return signature, write


@njit(nogil=True, forceinline=True)
def forbid_beyond(S, s, s_row, keys):
    """−inf in every row of a tile behind so many keys."""
    _forbid_beyond(S, s, s_row, keys)


@intrinsic
def _transpose(typing, T, t, t_row, X, x, x_row):
    signature = types.void(T, t, t_row, X, x, x_row)

    def write(context, builder, signature, arguments):
        T, t, t_row, X, x, x_row = pairs_of(signature, arguments)
        v = Vectors(context, builder, X[0].dtype)
        rows = [v.load(v.at(X, x[1], v.times(x_row[1], i))) for i in range(v.lanes)]
        step = 1
        while step < v.lanes:  # swap the off-diagonal corners of all blocks of twice this size
            rows = swap_corners(v, rows, step)
            step *= 2
        for i, row in enumerate(rows):
            v.store(row, v.at(T, t[1], v.times(t_row[1], i)))
        return context.get_dummy_value()

    return signature, write


def swap_corners(v, rows, step):
    """Blocks of 2·step rows and columns: their upper right and lower left corners change places."""
    swapped = list(rows)
    upper = [j if not j & step else v.lanes + j - step for j in range(v.lanes)]
    lower = [j + step if not j & step else v.lanes + j for j in range(v.lanes)]
    for i in (i for i in range(v.lanes) if not i & step):
        for place, picks in (i, upper), (i + step, lower):
            picks = ir.Constant(ir.VectorType(ir.IntType(32), v.lanes), picks)
            swapped[place] = v.builder.shuffle_vector(rows[i], rows[i + step], picks)
    return swapped


@njit(nogil=True, forceinline=True)
def transpose(T, t, t_row, X, x, x_row):
    """T = Xᵀ for a square of as many rows as a vector has lanes."""
    _transpose(T, t, t_row, X, x, x_row)
