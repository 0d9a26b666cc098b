"""Arithmetic on a processor's matrix tiles, AMX: products of sixteen rows of bfloat16, as LLVM instructions.

A tile register holds 16 rows of 64 bytes. One instruction, TDPBF16PS, adds to 16 × 16 numbers of float32
the product of 16 × 32 and 32 × 16 numbers of bfloat16: fifteen times the work of a vector instruction in
the same time. float32 comes out of it by *pieces*: every number is the sum of three of bfloat16, eight bits
each, and six of the nine products of two such sums leave an error as small as float32's own.
`formulas.pieces` has the same in NumPy.

The instruction takes what is smaller than 2⁻¹²⁶ for zero, and a piece that small would cost it a hundred
cycles; so weights below 2⁻¹⁰², and gradients of scores, become zero before they are split.

How tiles lie in memory, each in 1024 bytes, its pieces one after another:
    left   a row of a tile is a row of A, 32 columns of it;
    right  a row of a tile holds for 16 columns of B the numbers of two of its rows, side by side.
A block of C is 2 × 2 tiles of 16 × 16 numbers. Everything takes flat arrays and the index of a first number.
"""

import math

import numpy as np

from selfattention.extras import needed

with needed():
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

from selfattention.implementations.register_tiles import Vectors, number, pairs_of, swap_corners

SIDE = 16  # rows of a tile, and numbers of float32 in one
DEPTH = 32  # numbers of bfloat16 in a row of a tile
TILE = SIDE * DEPTH  # numbers of bfloat16 in a tile
SQUARE = SIDE * SIDE  # numbers of float32 in a tile
PIECES = 3
PILE = PIECES * TILE  # the pieces of a tile, one after another
# (piece of A, piece of B), the smallest products first: what they sum to is not lost beside the largest.
SMALL = (2, 0), (1, 0), (1, 1), (0, 1), (0, 2)
PAIRS = 32  # of 64 keys
LEAST = 2.0**-102  # below it the last piece could be smaller than 2⁻¹²⁶


def settings():
    """What the processor wants to know of its tiles: 64 bytes; all eight are 16 rows of 64 bytes."""
    settings = np.zeros(64, np.uint8)
    settings[0] = 1
    settings[16:32].view(np.uint16)[:] = 64
    settings[48:56] = SIDE
    return settings


class _Tiles(Vectors):
    """Writes instructions for tiles, and for vectors of 16 numbers of float32."""

    def __init__(self, context, builder):
        super().__init__(context, builder, types.float32)

    def tell(self, name, *arguments):
        """One of LLVM's instructions for tiles; a Python integer is the number of a tile."""
        arguments = [ir.Constant(ir.IntType(8), x) if isinstance(x, int) else x for x in arguments]
        function = ir.FunctionType(ir.VoidType(), [x.type for x in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, function, f"llvm.x86.{name}")
        self.builder.call(function, arguments)

    def bytes_at(self, pointer):
        return self.builder.bitcast(pointer, ir.IntType(8).as_pointer())

    def load_tile(self, tile, pointer):
        self.tell("tileloadd64", tile, self.bytes_at(pointer), number(64))

    def store_tile(self, tile, pointer):
        self.tell("tilestored64", tile, self.bytes_at(pointer), number(64))

    def multiply_four(self):
        """Tiles 4 and 5 times tiles 6 and 7, added to tiles 0 to 3."""
        for into, left, right in (0, 4, 6), (1, 4, 7), (2, 5, 6), (3, 5, 7):
            self.tell("tdpbf16ps", into, left, right)

    def moved(self, pointer, *offsets):
        """A pointer so many numbers further on."""
        for offset in offsets:
            offset = number(offset) if isinstance(offset, int) else offset
            pointer = self.builder.gep(pointer, [offset])
        return pointer

    def whole(self, vector):
        return self.builder.bitcast(vector, self.integers)

    def real(self, vector):
        return self.builder.bitcast(vector, self.vector)

    def bits(self, number):
        return ir.Constant(self.integers, [number] * SIDE)

    def upper(self, vector):
        """The first eight bits of every number: what bfloat16 has, cut off."""
        return self.real(self.builder.and_(self.whole(vector), self.bits(-65536)))

    def nearest(self, vector):
        """The nearest number of bfloat16, of two the larger."""
        return self.upper(self.real(self.builder.add(self.whole(vector), self.bits(0x8000))))

    def pieces(self, vector, count):
        """Of every number the nearest of bfloat16, then of what is left; the third is the rest itself."""
        for _ in range(count - 1):
            piece = self.nearest(vector)
            yield piece
            vector = self.builder.fsub(vector, piece)
        yield vector if count == PIECES else self.nearest(vector)

    def side_by_side(self, low, high):
        """Pairs of bfloat16, from vectors that need no more than their upper halves."""
        low = self.builder.lshr(self.whole(low), self.bits(16))
        return self.builder.or_(low, self.builder.and_(self.whole(high), self.bits(-65536)))

    def put(self, vector, pointer, offset=0):
        pointer = self.builder.bitcast(self.moved(pointer, offset), vector.type.as_pointer())
        self.builder.store(vector, pointer, align=64)

    def put_pieces(self, low, high, factor, pointer):
        """Two vectors times a factor, as a row of a tile of each piece."""
        both = (self.pieces(self.builder.fmul(vector, factor), PIECES) for vector in (low, high))
        for i, pair in enumerate(zip(*both, strict=True)):
            self.put(self.side_by_side(*pair), pointer, i * TILE)

    def transposed(self, rows):
        step = 1
        while step < SIDE:
            rows, step = swap_corners(self, rows, step), 2 * step
        return rows

    def exp_or_zero(self, x):
        """e^x, and 0 where that is below LEAST, as it is for −∞ and for NaN."""
        b, magic, log2e = self.builder, self.constant(1.5 * 2**23), self.constant(math.log2(math.e))
        k = b.fsub(self.fma(x, log2e, magic), magic)
        power = self.polynomial(self.fma(x, log2e, b.fneg(k)))
        seen = b.bitcast(b.fcmp_ordered(">=", x, self.constant(math.log(LEAST))), ir.IntType(SIDE))
        rounding = ir.Constant(ir.IntType(32), 4)  # as it is set
        arguments = power, k, self.constant(0.0), seen, rounding
        function = ir.FunctionType(self.vector, [x.type for x in arguments])
        name = "llvm.x86.avx512.mask.scalef.ps.512"
        return b.call(cgutils.get_or_insert_function(b.module, function, name), arguments)

    def or_zero(self, x):
        """x, and 0 where it is nearer to 0 than LEAST, or NaN."""
        size = self.real(self.builder.and_(self.whole(x), self.bits(0x7FFFFFFF)))
        large = self.builder.fcmp_ordered(">=", size, self.constant(LEAST))
        return self.builder.select(large, x, self.constant(0.0))

    def spaced(self, index, count, far, near):
        """Where the index-th lies, if `count` lie `near` one another and the next so many `far` off."""
        b, bits = self.builder, count.bit_length() - 1
        whole = b.mul(b.lshr(index, number(bits)), number(far))
        return b.add(whole, b.mul(b.and_(index, number(count - 1)), number(near)))


@intrinsic
def configure(typing, settings):
    """Tiles as `settings()` says, all zero; every thread has its own."""

    def write(context, builder, signature, arguments):
        tiles = _Tiles(context, builder)
        tiles.tell("ldtilecfg", tiles.bytes_at(tiles.at((signature.args[0], arguments[0]))))
        return context.get_dummy_value()

    return types.void(settings), write


@intrinsic
def release(typing):
    """Tiles are given back: nothing has to be kept when the system turns to another thread."""

    def write(context, builder, signature, arguments):
        _Tiles(context, builder).tell("tilerelease")
        return context.get_dummy_value()

    return types.void(), write


class _Block:
    """Writes a block of C = A B or C += A B: two rows and two columns of tiles, `steps` deep."""

    def __init__(self, tiles, arguments, pieces):
        self.tiles, self.pieces = tiles, pieces
        C, c, A, a, self.a_row, self.a_step, B, b, self.b_row, self.b_step, self.steps = arguments
        self.C, self.A, self.B = tiles.at(C, c[1]), tiles.at(A, a[1]), tiles.at(B, b[1])

    def write(self, add, beside=lambda: None):
        """`beside` is written behind every four products, for the vector units to do meanwhile."""
        tiles = self.tiles
        for tile in range(4):
            if add:
                tiles.load_tile(tile, tiles.moved(self.C, tile * SQUARE))
            else:
                tiles.tell("tilezero", tile)
        if self.pieces == PIECES:
            self._products(SMALL, beside)
        self._products([(0, 0)], beside)
        for tile in range(4):
            tiles.store_tile(tile, tiles.moved(self.C, tile * SQUARE))

    def _products(self, pairs, beside):
        with cgutils.for_range(self.tiles.builder, self.steps[1]) as step:
            at_hand = None, None
            for pair in pairs:
                if pair[0] != at_hand[0]:
                    self._load(4, self.A, self.a_row, self.a_step, step.index, pair[0])
                if pair[1] != at_hand[1]:
                    self._load(6, self.B, self.b_row, self.b_step, step.index, pair[1])
                at_hand = pair
                self.tiles.multiply_four()
                beside()

    def _load(self, tile, X, row, step, index, piece):
        first = self.tiles.moved(X, self.tiles.builder.mul(index, step[1]), piece * TILE)
        self.tiles.load_tile(tile, first)
        self.tiles.load_tile(tile + 1, self.tiles.moved(first, row[1]))


def _product(pieces, add):
    @intrinsic
    def product(typing, C, c, A, a, a_row, a_step, B, b, b_row, b_step, steps):
        signature = types.void(C, c, A, a, a_row, a_step, B, b, b_row, b_step, steps)

        def write(context, builder, signature, arguments):
            _Block(_Tiles(context, builder), pairs_of(signature, arguments), pieces).write(add)
            return context.get_dummy_value()

        return signature, write

    return product


product, add_product = _product(PIECES, False), _product(PIECES, True)
bfloat16_product = _product(1, False)  # of numbers that are one piece, in tiles of their own


class _Meanwhile:
    """Vector work in small parts, written between products of tiles."""

    def __init__(self, tiles, first, stop):
        self.tiles, self.stop = tiles, stop
        self.next = cgutils.alloca_once_value(tiles.builder, first)

    def some(self, count):
        """So many parts more, as long as there are any."""
        b = self.tiles.builder
        first = b.load(self.next)
        last = b.add(first, count)
        last = b.select(b.icmp_signed("<", last, self.stop), last, self.stop)
        with cgutils.for_range_slice(b, first, last, number(1), inc=True) as (part, _):
            self.part(part)
        b.store(last, self.next)

    def between(self, block, add):
        """Written between the products of a block, and what is left behind them."""
        b = self.tiles.builder
        slots = b.mul(block.steps[1], number(len(SMALL) + 1 if block.pieces == PIECES else 1))
        parts = b.sub(self.stop, b.load(self.next))
        each = b.sdiv(b.sub(b.add(slots, parts), number(1)), slots)
        block.write(add, lambda: self.some(each))
        self.finish()

    def finish(self):
        self.some(self.stop)

    def split(self, low, high, pieces):
        """Pairs of two vectors, piece by piece: what is cut off is the next piece."""
        b = self.tiles.builder
        for piece in range(pieces):
            yield self.tiles.side_by_side(low, high)
            if piece < pieces - 1:
                low, high = (b.fsub(x, self.tiles.upper(x)) for x in (low, high))


class _Weights(_Meanwhile):
    """e^(S − c) for 64 keys and 32 queries, as right tiles of pieces; keys r and 16 + r in each part.

    S are blocks of scores, a query to each lane; the sums are added to Z.
    """

    def __init__(self, tiles, first, stop, S, s, P, p, c, Z, x, pieces):
        super().__init__(tiles, first, stop)
        self.pieces = pieces
        self.S, self.P, self.Z = tiles.at(S, s[1]), tiles.at(P, p[1]), tiles.at(Z, x[1])
        self.c = [tiles.load(tiles.at(c, x[1]), q) for q in (0, 1)]
        self.sums = [cgutils.alloca_once_value(tiles.builder, tiles.constant(0.0)) for _ in self.c]

    def part(self, pair):
        tiles, b = self.tiles, self.tiles.builder
        S = tiles.moved(self.S, tiles.spaced(pair, SIDE, 4 * SQUARE, SIDE))
        P = tiles.moved(self.P, tiles.spaced(pair, SIDE, 2 * self.pieces * TILE, DEPTH))
        for q, sums in enumerate(self.sums):
            scores = [tiles.load(tiles.moved(S, (2 * half + q) * SQUARE)) for half in (0, 1)]
            e, f = (tiles.exp_or_zero(b.fsub(score, self.c[q])) for score in scores)
            b.store(b.fadd(b.load(sums), b.fadd(e, f)), sums)
            for i, both in enumerate(self.split(e, f, self.pieces)):
                tiles.put(both, P, (q * self.pieces + i) * TILE)

    def finish(self):
        super().finish()
        b = self.tiles.builder
        for q, sums in enumerate(self.sums):
            self.tiles.store(b.fadd(self.tiles.load(self.Z, q), b.load(sums)), self.Z, q)


class _WeightsAndSlopes(_Meanwhile):
    """A = e^(S − L) and dS = A (dA − delta) for 64 keys and 32 queries, in pieces.

    Keys r and 16 + r in each part. Both as left tiles, and dS as right tiles as well.
    """

    def __init__(self, tiles, first, stop, S, D, s, L, x, delta, y, A, dS, dS_right, pieces):
        super().__init__(tiles, first, stop)
        self.pieces = pieces
        self.S, self.D = tiles.at(S, s[1]), tiles.at(D, s[1])
        self.A, self.dS, self.right = (tiles.at(array) for array in (A, dS, dS_right))
        self.L, self.delta = (
            [tiles.load(tiles.at(array, place[1]), q) for q in (0, 1)]
            for array, place in ((L, x), (delta, y))
        )

    def part(self, pair):
        tiles, b = self.tiles, self.tiles.builder
        row = tiles.spaced(pair, SIDE, 4 * SQUARE, SIDE)
        S, D = tiles.moved(self.S, row), tiles.moved(self.D, row)
        place = tiles.spaced(pair, SIDE, 2 * self.pieces * TILE, DEPTH)
        A, dS, right = (tiles.moved(tile, place) for tile in (self.A, self.dS, self.right))
        slopes = []
        for half in (0, 1):
            weights, both = [], []
            for q in (0, 1):
                place = (2 * half + q) * SQUARE
                weight = tiles.exp_or_zero(b.fsub(tiles.load(tiles.moved(S, place)), self.L[q]))
                slope = b.fmul(weight, b.fsub(tiles.load(tiles.moved(D, place)), self.delta[q]))
                weights.append(weight)
                both.append(tiles.or_zero(slope))
            for i, pieces in enumerate(self.split(*weights, self.pieces)):
                tiles.put(pieces, A, (half * self.pieces + i) * TILE)
            for i, pieces in enumerate(self.split(*both, self.pieces)):
                tiles.put(pieces, dS, (half * self.pieces + i) * TILE)
            slopes.append(both)
        for q in (0, 1):
            for i, pieces in enumerate(self.split(slopes[0][q], slopes[1][q], self.pieces)):
                tiles.put(pieces, right, (q * self.pieces + i) * TILE)


def _product_beside_weights(pieces, add):
    @intrinsic
    def product(
        typing, C, c, A, a, a_row, a_step, B, b, b_row, b_step, steps, first, stop, S, s, P, p, shift, Z, x
    ):
        signature = types.void(
            C, c, A, a, a_row, a_step, B, b, b_row, b_step, steps, first, stop, S, s, P, p, shift, Z, x
        )

        def write(context, builder, signature, arguments):
            tiles, pairs = _Tiles(context, builder), pairs_of(signature, arguments)
            (first, stop), work = pairs[11:13], pairs[13:]
            work = _Weights(tiles, first[1], stop[1], *work, pieces)
            work.between(_Block(tiles, pairs[:11], pieces), add)
            return context.get_dummy_value()

        return signature, write

    return product


# C = A B or C += A B, and meanwhile some of the weights of a block of scores that is there already.
product_beside_weights = _product_beside_weights(PIECES, False)
add_product_beside_weights = _product_beside_weights(PIECES, True)


@intrinsic
def weights(typing, first, stop, S, s, P, p, shift, Z, x):
    """Some of P = e^(S − c) in pieces, for 64 keys and 32 queries, and their sums added to Z."""
    signature = types.void(first, stop, S, s, P, p, shift, Z, x)

    def write(context, builder, signature, arguments):
        tiles, (first, stop, *rest) = _Tiles(context, builder), pairs_of(signature, arguments)
        _Weights(tiles, first[1], stop[1], *rest, PIECES).finish()
        return context.get_dummy_value()

    return signature, write


@intrinsic
def product_beside_slopes(
    typing,
    C,
    c,
    A,
    a,
    a_row,
    a_step,
    B,
    b,
    b_row,
    b_step,
    steps,
    quarter,
    S,
    D,
    s,
    L,
    x,
    delta,
    y,
    P,
    dS,
    right,
):
    """C = A B, and meanwhile a quarter of the weights and slopes of blocks that are there already."""
    signature = types.void(
        C, c, A, a, a_row, a_step, B, b, b_row, b_step, steps, quarter, S, D, s, L, x, delta, y, P, dS, right
    )

    def write(context, builder, signature, arguments):
        tiles, pairs = _Tiles(context, builder), pairs_of(signature, arguments)
        parts = PAIRS // 4
        first = builder.mul(pairs[11][1], number(parts))
        work = _WeightsAndSlopes(tiles, first, builder.add(first, number(parts)), *pairs[12:], PIECES)
        work.between(_Block(tiles, pairs[:11], PIECES), False)
        return context.get_dummy_value()

    return signature, write


@intrinsic
def weights_and_slopes(typing, S, D, s, L, x, delta, y, P, dS, right):
    """P = e^(S − L) and dS = P (D − delta) in pieces, for 64 keys and 32 queries."""
    signature = types.void(S, D, s, L, x, delta, y, P, dS, right)

    def write(context, builder, signature, arguments):
        tiles, pairs = _Tiles(context, builder), pairs_of(signature, arguments)
        _WeightsAndSlopes(tiles, number(0), number(PAIRS), *pairs, PIECES).finish()
        return context.get_dummy_value()

    return signature, write


@intrinsic
def exceeds(typing, S, s, c, x, slack, highest):
    """Is some score of 64 keys and 32 queries above its query's c + slack? `highest` gets the maxima."""
    signature = types.boolean(S, s, c, x, slack, highest)

    def write(context, builder, signature, arguments):
        S, s, c, x, slack, highest = pairs_of(signature, arguments)
        tiles, found = _Tiles(context, builder), []
        for q in range(2):
            four = [tiles.constant(-math.inf)] * 4
            for block in range(4):
                rows = tiles.at(S, s[1], number(block * 2 * SQUARE + q * SQUARE))
                for row in range(SIDE):
                    four[row % 4] = tiles.larger(tiles.load(rows, row), four[row % 4])
            top = tiles.tree(tiles.larger, four)
            tiles.store(top, tiles.at(highest), q)
            limit = builder.fadd(tiles.load(tiles.at(c, x[1]), q), tiles.spread(slack[1]))
            found.append(builder.fcmp_ordered(">", top, limit))
        bits = builder.bitcast(builder.or_(*found), ir.IntType(SIDE))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return signature, write


@intrinsic
def raise_shift(typing, c, x, highest, slack, Z, OT, o, blocks):
    """c rises to the maxima that exceed it, and what was summed under the old c shrinks to match."""
    signature = types.void(c, x, highest, slack, Z, OT, o, blocks)

    def write(context, builder, signature, arguments):
        c, x, highest, slack, Z, OT, o, blocks = pairs_of(signature, arguments)
        tiles = _Tiles(context, builder)
        for q in range(2):
            shift, top = tiles.load(tiles.at(c, x[1]), q), tiles.load(tiles.at(highest), q)
            rises = builder.fcmp_ordered(">", top, builder.fadd(shift, tiles.spread(slack[1])))
            higher = builder.select(rises, top, shift)
            smaller = builder.select(rises, tiles.exp_or_zero(builder.fsub(shift, top)), tiles.constant(1.0))
            tiles.store(higher, tiles.at(c, x[1]), q)
            sums = tiles.at(Z, x[1])
            tiles.store(builder.fmul(tiles.load(sums, q), smaller), sums, q)
            with cgutils.for_range(builder, blocks[1]) as block:
                tile = tiles.at(OT, o[1], builder.mul(block.index, number(2 * SQUARE)), number(q * SQUARE))
                for row in range(SIDE):
                    tiles.store(builder.fmul(tiles.load(tile, row), smaller), tile, row)
        return context.get_dummy_value()

    return signature, write


@intrinsic
def rows_to_left(typing, T, t, X, x, x_row, columns, factor):
    """16 rows of X times a factor as left tiles: one after another for 32 columns each."""
    signature = types.void(T, t, X, x, x_row, columns, factor)

    def write(context, builder, signature, arguments):
        T, t, X, x, x_row, columns, factor = pairs_of(signature, arguments)
        tiles = _Tiles(context, builder)
        factor = tiles.spread(factor[1])
        with cgutils.for_range(builder, builder.sdiv(columns[1], number(DEPTH))) as step:
            tile = tiles.at(T, t[1], tiles.times(step.index, PILE))
            first = tiles.at(X, x[1], builder.mul(step.index, number(DEPTH)))
            with cgutils.for_range(builder, number(SIDE)) as row:
                along = tiles.moved(first, builder.mul(row.index, x_row[1]))
                into = tiles.moved(tile, builder.mul(row.index, number(DEPTH)))
                tiles.put_pieces(tiles.load(along, 0), tiles.load(along, 1), factor, into)
        return context.get_dummy_value()

    return signature, write


@intrinsic
def rows_to_right(typing, T, t, X, x, x_row, columns, factor):
    """16 rows of X times a factor as right tiles of Xᵀ: one after another for 32 columns each."""
    signature = types.void(T, t, X, x, x_row, columns, factor)

    def write(context, builder, signature, arguments):
        T, t, X, x, x_row, columns, factor = pairs_of(signature, arguments)
        tiles = _Tiles(context, builder)
        factor = tiles.spread(factor[1])
        with cgutils.for_range(builder, builder.sdiv(columns[1], number(DEPTH))) as step:
            tile = tiles.at(T, t[1], tiles.times(step.index, PILE))
            first = tiles.at(X, x[1], builder.mul(step.index, number(DEPTH)))
            places = [tiles.moved(first, tiles.times(x_row[1], row)) for row in range(SIDE)]
            low, high = (tiles.transposed([tiles.load(place, half) for place in places]) for half in (0, 1))
            for row, pair in enumerate(zip(low, high, strict=True)):
                tiles.put_pieces(*pair, factor, tiles.moved(tile, row * DEPTH))
        return context.get_dummy_value()

    return signature, write


@intrinsic
def columns_to_left(typing, T, t, X, x, x_row, columns, factor):
    """32 rows of X times a factor as left tiles of Xᵀ: one after another for 16 columns each."""
    signature = types.void(T, t, X, x, x_row, columns, factor)

    def write(context, builder, signature, arguments):
        T, t, X, x, x_row, columns, factor = pairs_of(signature, arguments)
        tiles = _Tiles(context, builder)
        factor = tiles.spread(factor[1])
        with cgutils.for_range(builder, builder.sdiv(columns[1], number(SIDE))) as step:
            tile = tiles.at(T, t[1], tiles.times(step.index, PILE))
            first = tiles.at(X, x[1], builder.mul(step.index, number(SIDE)))
            places = [tiles.moved(first, tiles.times(x_row[1], row)) for row in range(DEPTH)]
            upper, lower = (
                tiles.transposed([tiles.load(place) for place in half])
                for half in (places[:SIDE], places[SIDE:])
            )
            for row, pair in enumerate(zip(upper, lower, strict=True)):
                tiles.put_pieces(*pair, factor, tiles.moved(tile, row * DEPTH))
        return context.get_dummy_value()

    return signature, write


@intrinsic
def pairs_to_right(typing, T, t, X, x, x_row, columns, factor):
    """32 rows of X times a factor as right tiles of X: one after another for 16 columns each."""
    signature = types.void(T, t, X, x, x_row, columns, factor)

    def write(context, builder, signature, arguments):
        T, t, X, x, x_row, columns, factor = pairs_of(signature, arguments)
        tiles = _Tiles(context, builder)
        factor = tiles.spread(factor[1])
        with cgutils.for_range(builder, builder.sdiv(columns[1], number(SIDE))) as step:
            tile = tiles.at(T, t[1], tiles.times(step.index, PILE))
            first = tiles.at(X, x[1], builder.mul(step.index, number(SIDE)))
            with cgutils.for_range(builder, number(SIDE)) as row:
                upper = tiles.moved(first, builder.mul(row.index, x_row[1]))
                lower = tiles.moved(upper, tiles.times(x_row[1], SIDE))
                into = tiles.moved(tile, builder.mul(row.index, number(DEPTH)))
                tiles.put_pieces(tiles.load(upper), tiles.load(lower), factor, into)
        return context.get_dummy_value()

    return signature, write


@intrinsic
def turned_back(typing, X, x, x_row, OT, o, blocks, factor, f):
    """16 rows of X from Xᵀ, blocks of 16 columns each, every query times its factor."""
    signature = types.void(X, x, x_row, OT, o, blocks, factor, f)

    def write(context, builder, signature, arguments):
        X, x, x_row, OT, o, blocks, factor, f = pairs_of(signature, arguments)
        tiles = _Tiles(context, builder)
        share = tiles.load(tiles.at(factor, f[1]))
        with cgutils.for_range(builder, blocks[1]) as block:
            tile = tiles.at(OT, o[1], builder.mul(block.index, number(2 * SQUARE)))
            into = tiles.at(X, x[1], builder.mul(block.index, number(SIDE)))
            rows = [builder.fmul(tiles.load(tile, row), share) for row in range(SIDE)]
            for row, vector in enumerate(tiles.transposed(rows)):
                tiles.store(vector, tiles.moved(into, tiles.times(x_row[1], row)))
        return context.get_dummy_value()

    return signature, write


@intrinsic
def forbid(typing, S, s, seen, starts):
    """−∞ in the scores of 64 keys and 32 queries where a query's mask, from seen[start] on, is 0."""
    signature = types.void(S, s, seen, starts)

    def write(context, builder, signature, arguments):
        S, s, seen, starts = pairs_of(signature, arguments)
        tiles = _Tiles(context, builder)
        some = ir.VectorType(ir.IntType(8), SIDE)
        with cgutils.for_range(builder, number(8)) as block:  # of keys and of queries
            keys, q = builder.lshr(block.index, number(1)), builder.and_(block.index, number(1))
            rows = []
            for row in range(SIDE):
                start = builder.load(tiles.at(starts, builder.mul(q, number(SIDE)), number(row)))
                place = tiles.at(seen, start, builder.mul(keys, number(SIDE)))
                rows.append(builder.load(builder.bitcast(place, some.as_pointer()), align=1))
            tile = tiles.at(S, s[1], builder.mul(block.index, number(SQUARE)))
            for row, mask in enumerate(tiles.transposed(rows)):
                visible = builder.icmp_unsigned("!=", mask, ir.Constant(some, [0] * SIDE))
                score = builder.select(visible, tiles.load(tile, row), tiles.constant(-math.inf))
                tiles.store(score, tile, row)
        return context.get_dummy_value()

    return signature, write


@intrinsic
def add_transposed(typing, S, s, X, x, x_row):
    """S += Xᵀ for 64 keys and 32 queries, X a query to each row."""
    signature = types.void(S, s, X, x, x_row)

    def write(context, builder, signature, arguments):
        S, s, X, x, x_row = pairs_of(signature, arguments)
        tiles = _Tiles(context, builder)
        with cgutils.for_range(builder, number(8)) as block:
            keys, q = builder.lshr(block.index, number(1)), builder.and_(block.index, number(1))
            first = tiles.at(
                X, x[1], builder.mul(builder.mul(q, number(SIDE)), x_row[1]), builder.mul(keys, number(SIDE))
            )
            tile = tiles.at(S, s[1], builder.mul(block.index, number(SQUARE)))
            rows = [tiles.load(tiles.moved(first, tiles.times(x_row[1], row))) for row in range(SIDE)]
            for row, vector in enumerate(tiles.transposed(rows)):
                tiles.store(builder.fadd(tiles.load(tile, row), vector), tile, row)
        return context.get_dummy_value()

    return signature, write


@intrinsic
def cap(typing, S, s, limit):
    """C tanh(S / C), C the limit, of 64 keys and 32 queries."""
    signature = types.void(S, s, limit)

    def write(context, builder, signature, arguments):
        S, s, limit = pairs_of(signature, arguments)
        tiles = _Tiles(context, builder)
        C = tiles.spread(limit[1])
        with cgutils.for_range(builder, number(8 * SIDE)) as row:
            place = tiles.at(S, s[1], builder.mul(row.index, number(SIDE)))
            tiles.store(builder.fmul(tiles.tanh(builder.fdiv(tiles.load(place), C)), C), place)
        return context.get_dummy_value()

    return signature, write


@intrinsic
def cap_and_slopes(typing, S, D, s, limit, delta, x):
    """S becomes C tanh(S / C), and D, which held dA, becomes (dA − delta) (1 − tanh²)."""
    signature = types.void(S, D, s, limit, delta, x)

    def write(context, builder, signature, arguments):
        S, D, s, limit, delta, x = pairs_of(signature, arguments)
        tiles = _Tiles(context, builder)
        C, one = tiles.spread(limit[1]), tiles.constant(1.0)
        for q in (0, 1):
            mean = tiles.load(tiles.at(delta, x[1]), q)
            with cgutils.for_range(builder, number(4 * SIDE)) as key:
                row = tiles.spaced(key.index, SIDE, 2 * SQUARE, SIDE)
                scores, dA = (tiles.at(array, s[1], row, number(q * SQUARE)) for array in (S, D))
                tanh = tiles.tanh(builder.fdiv(tiles.load(scores), C))
                slope = builder.fmul(
                    builder.fsub(tiles.load(dA), mean), tiles.fma(builder.fneg(tanh), tanh, one)
                )
                tiles.store(builder.fmul(tanh, C), scores)
                tiles.store(slope, dA)
        return context.get_dummy_value()

    return signature, write
