#include "megalith/kernels/cpu/attention_sink.h"

#include <cmath>

#include "megalith/kernels/cpu/float_types.h"
#include "megalith/kernels/cpu/partials.h"

namespace megalith::cpu::MG_ISA {
namespace {

template <class T>
T* head_row(const HeadRows& rows, int64_t b, int64_t s, int64_t head) {
  return static_cast<T*>(rows.data) + b * rows.batch_stride + s * rows.token_stride + head * rows.head_stride;
}

template <class T>
double sink_of(const AttentionSinkProblem& p, int64_t head) {
  return p.sink == nullptr ? 0 : static_cast<double>(load(static_cast<const T*>(p.sink)[head]));
}

template <class T>
void join_rows(const AttentionSinkProblem& p, [[maybe_unused]] const AttentionSinkWork& work) {
  using Acc = accumulate_t<T>;
#pragma omp parallel for num_threads(work.num_threads) schedule(static)
  for (int64_t row = 0; row < p.batch * p.seq; ++row) {
    const int64_t b = row / p.seq, s = row % p.seq;
    for (int64_t head = 0; head < p.heads; ++head) {
      Acc& lse = static_cast<Acc*>(p.lse)[(b * p.heads + head) * p.seq + s];
      const double sink = sink_of<T>(p, head), before = static_cast<double>(lse);
      const double larger = sink > before ? sink : before, smaller = sink > before ? before : sink;
      const Acc kept = static_cast<Acc>(1 / (1 + exp(sink - before)));
      lse = static_cast<Acc>(larger + log1p(exp(smaller - larger)));
      T* out = head_row<T>(p.out, b, s, head);
#pragma omp simd
      for (int64_t d = 0; d < p.dim; ++d) store(out[d], kept * load(out[d]));
    }
  }
}

template <class T>
void sum_rows(const AttentionSinkProblem& p, const AttentionSinkGradient& gradient,
              const AttentionSinkWork& work) {
  using Acc = accumulate_t<T>;
#pragma omp parallel for num_threads(work.num_threads) schedule(static)
  for (int64_t chunk = 0; chunk < work.chunks.count; ++chunk) {
    Acc* sums = static_cast<Acc*>(work.partials) + chunk * p.heads;
    clear(sums, p.heads);
    const int64_t begin = chunk * work.chunks.rows, rows = p.batch * p.seq;
    const int64_t end = begin + work.chunks.rows < rows ? begin + work.chunks.rows : rows;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / p.seq, s = row % p.seq;
      for (int64_t head = 0; head < p.heads; ++head) {
        const T* out = head_row<const T>(p.out, b, s, head);
        const T* d_out = head_row<const T>(gradient.d_out, b, s, head);
        Acc dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t d = 0; d < p.dim; ++d) dot += load(out[d]) * load(d_out[d]);
        const auto lse =
            static_cast<double>(static_cast<const Acc*>(p.lse)[(b * p.heads + head) * p.seq + s]);
        sums[head] -= static_cast<Acc>(exp(sink_of<T>(p, head) - lse)) * dot;
      }
    }
  }
  dispatch_gradient<T>(gradient.sink_dtype, [&]<class Gradient>() {
    sum_partials(static_cast<const Acc*>(work.partials), work.chunks.count, p.heads, gradient.accumulate,
                 static_cast<Gradient*>(gradient.d_sink));
  });
}

}  // namespace

void attention_sink(const AttentionSinkProblem& problem, const AttentionSinkWork& work) {
  dispatch_float(problem.dtype, [&]<class T>() { join_rows<T>(problem, work); });
}

void attention_sink_backward(const AttentionSinkProblem& problem, const AttentionSinkGradient& gradient,
                             const AttentionSinkWork& work) {
  dispatch_float(problem.dtype, [&]<class T>() { sum_rows<T>(problem, gradient, work); });
}

}  // namespace megalith::cpu::MG_ISA
