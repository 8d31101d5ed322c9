#include "megalith/optim/clip.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "megalith/ops/adamw.h"

namespace megalith {
namespace {

struct CountedRange {
  FlatRange range;
  int copies;  // ranks that hold these elements
};

int copies_of(const Parameter& parameter, const Mesh& mesh) {
  const MeshShape& shape = mesh.shape();
  const bool is_whole = parameter.spec.shard.is_whole();
  if (parameter.spec.is_expert) return shape.edp * (is_whole ? shape.etp : 1);
  return shape.dp * shape.cp * (is_whole ? shape.tp : 1) * (parameter.spec.is_shared_by_stages ? 2 : 1);
}

// Neighbours of as many copies are one range; the padding between them is zero.
std::vector<CountedRange> counted_ranges(const ParameterStore& store, const Mesh& mesh) {
  std::vector<CountedRange> all, merged;
  for (const auto& parameter : store.parameters())
    all.push_back(
        {{parameter->flat_begin, parameter->flat_begin + parameter->numel()}, copies_of(*parameter, mesh)});
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.range.begin < b.range.begin; });
  for (const CountedRange& next : all) {
    if (!merged.empty() && merged.back().copies == next.copies) {
      merged.back().range.end = next.range.end;
    } else {
      merged.push_back(next);
    }
  }
  return merged;
}

// A stretch of gradients, and what each of its squares counts.
struct Term {
  Tensor gradient;
  double weight;
};

std::vector<Term> norm_terms(const ParameterStore& store, const Mesh& mesh) {
  const std::vector<CountedRange> all = counted_ranges(store, mesh);
  std::vector<Term> terms;
  for (const ParameterStore::Owned& owned : store.owned()) {
    const int shares = store.sharing().of(owned.is_expert).count;
    for (const CountedRange& counted : all) {
      const int64_t begin = std::max(owned.range.begin, counted.range.begin);
      const int64_t end = std::min(owned.range.end, counted.range.end);
      if (begin >= end) continue;
      terms.push_back({owned.grad.slice(0, begin - owned.range.begin, end - owned.range.begin),
                       static_cast<double>(shares) / counted.copies});
    }
  }
  return terms;
}

}  // namespace

GradSquares grad_squares(const ParameterStore& store, const Mesh& mesh, Exec& exec) {
  const std::vector<Term> terms = norm_terms(store, mesh);
  GradSquares result{.squares = exec.empty({static_cast<int64_t>(terms.size())}, DType::kF64), .weights = {}};
  for (const Term& term : terms) {
    const auto at = static_cast<int64_t>(result.weights.size());
    sum_of_squares(term.gradient, result.squares.slice(0, at, at + 1), exec);
    result.weights.push_back(term.weight);
  }
  return result;
}

double global_grad_norm(const ParameterStore& store, const Mesh& mesh, Exec& exec) {
  const GradSquares terms = grad_squares(store, mesh, exec);
  const std::vector<double> sums = to_vector<double>(terms.squares);  // one wait for all of them
  double sum = 0;
  for (size_t i = 0; i < sums.size(); ++i) sum += sums[i] * terms.weights[i];
  if (mesh.world().size() == 1) return std::sqrt(sum);
  const Tensor total = exec.from_host(std::span<const double>(&sum, 1), {1});
  mesh.world().all_reduce(total, ReduceOp::kSum, "gradient norm");
  return std::sqrt(to_vector<double>(total)[0]);
}

}  // namespace megalith
