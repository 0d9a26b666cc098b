/**
 * Self-attention in plain numbers: one function per formula, named as in `selfattention.formulas`
 * and held against it, number by number, by tests/test_widgets.py.
 *
 * A matrix is an array of rows, a row an array of numbers, heads an array of matrices. Nothing here
 * knows of a page.
 */

const sum = (row) => row.reduce((total, x) => total + x, 0);
const dot = (a, b) => sum(a.map((x, i) => x * b[i]));
const transpose = (M) => M[0].map((_, j) => M.map((row) => row[j]));
const product = (A, B) => A.map((row) => transpose(B).map((column) => dot(row, column)));
const byRow = (f) => (M) => (Array.isArray(M[0]) ? M.map(byRow(f)) : f(M)); // rows lie on the last axis

/** Q = X W_Q,  K = X W_K,  V = X W_V; keys and values from `memory` where it is given. */
export const projections = (X, W_Q, W_K, W_V, memory = X) => [
  product(X, W_Q),
  product(memory, W_K),
  product(memory, W_V),
];

/** S_ij = q_i · k_j. */
export const dot_scores = (Q, K) => Q.map((q) => K.map((k) => dot(q, k)));

/** S = Q Kᵀ / √d_k. */
export const scaled_scores = (Q, K) =>
  byRow((row) => row.map((s) => s / Math.sqrt(Q[0].length)))(dot_scores(Q, K));

/** S'_ij = S_ij where query i may see key j, −∞ elsewhere. */
export const masked_scores = (S, visible) =>
  S.map((row, i) => row.map((s, j) => (visible[i][j] ? s : -Infinity)));

/** A = exp(S − c) / Z; a row that may see no key gets weight zero everywhere. */
export const softmax = byRow((s) => {
  const c = Math.max(...s);
  if (c === -Infinity) return s.map(() => 0);
  const E = s.map((x) => Math.exp(x - c));
  const Z = sum(E);
  return E.map((e) => e / Z);
});

/** L = c + ln Z. */
export const log_sum_exp = byRow((s) => {
  const c = Math.max(...s);
  return c === -Infinity ? c : c + Math.log(sum(s.map((x) => Math.exp(x - c))));
});

/** H = −Σ_j a_j ln a_j, in nats, with 0 ln 0 = 0. */
export const entropy = byRow((a) => -sum(a.map((x) => (x > 0 ? x * Math.log(x) : 0))));

/** N = exp(H): the number of keys a uniform row of that entropy has. */
export const effective_keys = byRow((a) => Math.exp(entropy(a)));

/** O = A V. */
export const weighted_sum = (A, V) => product(A, V);

/** Y = O W_O. */
export const output_projection = (O, W_O) => product(O, W_O);

/** O = softmax(Q Kᵀ / √d_k) V. */
export const attention = (Q, K, V) => weighted_sum(softmax(scaled_scores(Q, K)), V);

/** O = softmax(S') V, S' the masked scores. */
export const masked_attention = (Q, K, V, visible) =>
  weighted_sum(softmax(masked_scores(scaled_scores(Q, K), visible)), V);

/** Y = softmax(X W_Q (X W_K)ᵀ / √d_k) X W_V W_O. */
export const self_attention = (X, W_Q, W_K, W_V, W_O, memory = X) =>
  output_projection(attention(...projections(X, W_Q, W_K, W_V, memory)), W_O);

/** Q^(i) = columns i·d … (i+1)·d − 1 of Q. */
export function split_heads(Q, h) {
  const d = Q[0].length / h;
  return Array.from({ length: h }, (_, i) => Q.map((row) => row.slice(i * d, (i + 1) * d)));
}

/** The heads' columns side by side. */
export const concat_heads = (H) => H[0].map((_, t) => H.flatMap((head) => head[t]));

/** O = Concat(A^(1)V^(1) … A^(h)V^(h)), and every head's weights A. */
export function attend_by_head(Q, K, V, h) {
  const [heads_Q, heads_K, heads_V] = [Q, K, V].map((wide) => split_heads(wide, h));
  const A = heads_Q.map((_, i) => softmax(scaled_scores(heads_Q[i], heads_K[i])));
  return [concat_heads(A.map((weights, i) => weighted_sum(weights, heads_V[i]))), A];
}

/** Y = Concat(H^(1) … H^(h)) W_O. */
export const multi_head_attention = (X, W_Q, W_K, W_V, W_O, h, memory = X) =>
  output_projection(attend_by_head(...projections(X, W_Q, W_K, W_V, memory), h)[0], W_O);

/** 2 (p − 1) ⌈N / p⌉ · word_bytes. */
export const all_reduce_bytes = (words, p, word_bytes) => 2 * (p - 1) * Math.ceil(words / p) * word_bytes;

/** (m − m_next) g (d_k + d_v) · word_bytes. */
export const ring_bytes = (m, m_next, g, d_k, d_v, word_bytes) => (m - m_next) * g * (d_k + d_v) * word_bytes;

/** n_r ((h − h_r) d_k + (g − g_r)(d_k + d_v)) B + (n − n_r) h_r (d_v B + B_L). */
export const all_to_all_bytes = (n, n_own, h, h_own, g, g_own, d_k, d_v, word_bytes, sum_bytes) =>
  n_own * ((h - h_own) * d_k + (g - g_own) * (d_k + d_v)) * word_bytes +
  (n - n_own) * h_own * (d_v * word_bytes + sum_bytes);

/** n (2 d_model + h_r (d_k + d_v + 1) + g_r (d_k + d_v)). */
export const head_parallel_words = (n, d_model, h_own, g_own, d_k, d_v) =>
  n * (2 * d_model + h_own * (d_k + d_v + 1) + g_own * (d_k + d_v));

/** n_r h (d_k + d_v + 2) + (m_r + 2 c) g (d_k + d_v). */
export const ring_words = (n_own, m_own, piece, h, g, d_k, d_v) =>
  n_own * h * (d_k + d_v + 2) + (m_own + 2 * piece) * g * (d_k + d_v);

/** (n_r h + n h_r)(d_k + d_v + 1) + (n_r g + n g_r)(d_k + d_v). */
export const all_to_all_words = (n, n_own, h, h_own, g, g_own, d_k, d_v) =>
  (n_own * h + n * h_own) * (d_k + d_v + 1) + (n_own * g + n * g_own) * (d_k + d_v);

/** k α + N / β. */
export const transfer_seconds = (messages, sent_bytes, bytes_per_second, latency) =>
  messages * latency + sent_bytes / bytes_per_second;

/** max(t_c, t_s) + (1 − ω) min(t_c, t_s). */
export const step_seconds = (computing, sending, overlap) =>
  Math.max(computing, sending) + (1 - overlap) * Math.min(computing, sending);

/** (p − 1) step(t_c, t_s) + t_c,  t_c = W / (p P),  t_s = α + N / ((p − 1) β). */
export function ring_seconds(p, flops, sent_bytes, flops_per_second, bytes_per_second, latency, overlap) {
  const computing = flops / (p * flops_per_second);
  if (p === 1) return computing;
  const sending = transfer_seconds(1, sent_bytes / (p - 1), bytes_per_second, latency);
  return (p - 1) * step_seconds(computing, sending, overlap) + computing;
}

/** W / P + 2 (p − 1) α + N / β. */
export const exposed_seconds = (p, flops, sent_bytes, flops_per_second, bytes_per_second, latency) =>
  flops / flops_per_second + transfer_seconds(2 * (p - 1), sent_bytes, bytes_per_second, latency);

/** n / p ≥ (b + √(b² + 4 a α)) / (2 a). */
export function hiding_tokens(h, g, d_k, d_v, seen, word_bytes, flops_per_second, bytes_per_second, latency) {
  const per_pair = (2 * seen * h * (d_k + d_v)) / flops_per_second;
  const per_token = (g * (d_k + d_v) * word_bytes) / bytes_per_second;
  return (per_token + Math.sqrt(per_token ** 2 + 4 * per_pair * latency)) / (2 * per_pair);
}
