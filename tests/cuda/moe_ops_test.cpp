// The ops of a mixture of experts: routing, losses, orders and maps of rows. Products of experts have a file
// of their own.

#include <cmath>

#include "megalith/ops/expert_order.h"
#include "megalith/ops/rank_copies.h"
#include "megalith/ops/route.h"

#include "tests/cuda/twins.h"

namespace megalith {
namespace {

using conformance::kFloatTypes;
using conformance::kLayouts;
using conformance::Layout;
using testing::Twins;

struct Sizes {
  int64_t tokens, experts;
};
constexpr Sizes kSizes[] = {{137, 8}, {300, 64}, {33, 256}, {1, 16}, {0, 8}};

std::vector<RouteOptions> all_options() {
  return {{.topk = 2},
          {.topk = 8, .scale = 1.5},
          {.topk = 1, .pre_softmax = true},
          {.topk = 2, .pre_softmax = true, .num_groups = 4, .group_topk = 2},
          {.topk = 4, .num_groups = 4, .group_topk = 2},
          {.topk = 1, .score = RouterScore::kSigmoid},
          {.topk = 3, .score = RouterScore::kSigmoid, .scale = 2.5},
          {.topk = 2, .score = RouterScore::kSigmoid, .num_groups = 2, .group_topk = 1},
          {.topk = 8, .score = RouterScore::kSigmoid}};
}

// Steps of 1/64: logits are equal, which the order of places decides, or so far apart that rounding does not.
Twins::Pair random_logits(Twins& t, const Sizes& sizes, DType dtype) {
  std::vector<double> values =
      conformance::values_of(conformance::random_tensor(t.cpu(), {sizes.tokens, sizes.experts}, dtype, 1));
  for (double& value : values) value = std::round(value * 256) / 64;
  return t.of(values, {sizes.tokens, sizes.experts}, dtype);
}

template <class Body>
void for_each_route(const Body& body) {
  Twins twins;
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    for (const Sizes& sizes : kSizes) {
      for (const RouteOptions& options : all_options()) {
        SCOPED_TRACE(fmt::format("{} {} tokens {} experts topk {} groups {}{}{}", name_of(dtype),
                                 sizes.tokens, sizes.experts, options.topk, options.num_groups,
                                 options.score == RouterScore::kSigmoid ? " sigmoid" : "",
                                 options.pre_softmax ? " pre" : ""));
        body(twins, dtype, sizes, options);
      }
    }
  }
}

TEST(CudaMoe, RouteAndItsGradient) {
  for_each_route([](Twins& t, DType dtype, const Sizes& sizes, const RouteOptions& options) {
    const bool is_sigmoid = options.score == RouterScore::kSigmoid;
    const auto logits = random_logits(t, sizes, dtype);
    const auto bias = is_sigmoid ? t.random({sizes.experts}, DType::kF32, 2) : Twins::Pair{};
    const Shape choices{sizes.tokens, options.topk};
    const Twins::Pair experts = {t.cpu().empty(choices, DType::kI32), t.gpu().empty(choices, DType::kI32)};
    const auto probs = t.poisoned(choices, dtype);
    route({.options = options,
           .logits = logits.cpu,
           .expert_bias = bias.cpu,
           .experts = experts.cpu,
           .probs = probs.cpu},
          t.cpu());
    route({.options = options,
           .logits = logits.gpu,
           .expert_bias = bias.gpu,
           .experts = experts.gpu,
           .probs = probs.gpu},
          t.gpu());
    Twins::expect_equal(experts, "experts");
    Twins::expect_close(probs, sizes.experts, options.scale, "probs");

    const auto d_probs = t.random(choices, dtype, 3);
    const auto d_logits = t.poisoned(logits.cpu.shape(), dtype);
    route_backward({.options = options,
                    .logits = logits.cpu,
                    .experts = experts.cpu,
                    .d_probs = d_probs.cpu,
                    .d_logits = d_logits.cpu},
                   t.cpu());
    route_backward({.options = options,
                    .logits = logits.gpu,
                    .experts = experts.gpu,
                    .d_probs = d_probs.gpu,
                    .d_logits = d_logits.gpu},
                   t.gpu());
    Twins::expect_close(d_logits, sizes.experts, options.scale, "d_logits");
  });
}

TEST(CudaMoe, BiasOfExperts) {
  Twins t;
  for (const int64_t experts : {1, 8, 256, 2000}) {
    const auto bias = t.random({experts}, DType::kF32, 1);
    std::vector<double> tokens;
    for (int64_t e = 0; e < experts; ++e) tokens.push_back(static_cast<double>(e * e % 7));
    const auto counts = t.of(tokens, {experts}, DType::kF64);
    move_expert_bias(counts.cpu, 1e-3, bias.cpu, t.cpu());
    move_expert_bias(counts.gpu, 1e-3, bias.gpu, t.gpu());
    Twins::expect_equal(bias, "bias");
  }
}

TEST(CudaMoe, LossesAndCounts) {
  for_each_route([](Twins& t, DType dtype, const Sizes& sizes, const RouteOptions& options) {
    const auto logits = random_logits(t, sizes, dtype);
    const Shape choices{sizes.tokens, options.topk};
    std::vector<double> chosen;
    for (int64_t i = 0; i < choices.numel(); ++i)
      chosen.push_back(static_cast<double>(RngKey{4, 0}.bits(static_cast<uint64_t>(i)) %
                                           static_cast<uint64_t>(sizes.experts + 1)) -
                       1);
    const auto experts = t.of(chosen, choices, DType::kI32);
    // Two sequences, of which these are rows from the middle of the first to the middle of the second.
    const int64_t first = sizes.tokens / 2, length = std::max<int64_t>(sizes.tokens, 1);
    const auto counts =
        t.of(std::vector<double>(static_cast<size_t>(2 * sizes.experts), 3), {2, sizes.experts}, DType::kF64);
    count_experts(
        {.experts = experts.cpu, .first_token = first, .tokens_per_sequence = length, .counts = counts.cpu},
        t.cpu());
    count_experts(
        {.experts = experts.gpu, .first_token = first, .tokens_per_sequence = length, .counts = counts.gpu},
        t.gpu());
    Twins::expect_equal(counts, "counts");

    const auto losses = t.of({0.5, 0.25}, {2}, DType::kF64);
    const auto d_logits = t.random(logits.cpu.shape(), dtype, 5);
    RouterLossArgs args{.options = options,
                        .logits = logits.cpu,
                        .counts = counts.cpu,
                        .first_token = first,
                        .tokens_per_sequence = length,
                        .balance_factor = 1.0 / static_cast<double>(length),
                        .z_factor = 0.5 / static_cast<double>(length),
                        .balance_gradient = 0.7,
                        .z_gradient = 0.3,
                        .losses = losses.cpu,
                        .d_logits = d_logits.cpu};
    router_losses(args, t.cpu());
    args.logits = logits.gpu;
    args.counts = counts.gpu;
    args.losses = losses.gpu;
    args.d_logits = d_logits.gpu;
    router_losses(args, t.gpu());
    Twins::expect_close(d_logits, sizes.experts, 8, "d_logits");
    // The terms are of the logits' dtype before they are summed.
    conformance::expect_close(losses.gpu, conformance::values_of(losses.cpu),
                              {64 * conformance::unit_roundoff(dtype), 0}, "losses");
  });
}

enum class Choices { kSpread, kSomeDropped, kOneGetsAll, kAllDropped };

Twins::Pair choices_of(Twins& t, Choices kind, int64_t tokens, int64_t topk, int64_t num_experts) {
  std::vector<double> values;
  for (int64_t i = 0; i < tokens * topk; ++i) {
    const auto random = static_cast<int64_t>(RngKey{6, 0}.bits(static_cast<uint64_t>(i)) >> 1);
    int64_t expert = random % num_experts;
    if (kind == Choices::kSomeDropped && random % 5 == 0) expert = -1;
    if (kind == Choices::kSomeDropped && expert == 2) expert = -1;  // an expert without rows
    if (kind == Choices::kOneGetsAll) expert = num_experts - 1;
    if (kind == Choices::kAllDropped) expert = -1;
    values.push_back(static_cast<double>(expert));
  }
  return t.of(values, {tokens, topk}, DType::kI32);
}

void expect_equal_orders(const ExpertOrder& gpu, const ExpertOrder& cpu) {
  Twins::expect_equal({cpu.offsets, gpu.offsets}, "offsets");
  Twins::expect_equal({cpu.tokens.from, gpu.tokens.from}, "tokens.from");
  Twins::expect_equal({cpu.tokens.to, gpu.tokens.to}, "tokens.to");
  Twins::expect_equal({cpu.choices.from, gpu.choices.from}, "choices.from");
  Twins::expect_equal({cpu.choices.to, gpu.choices.to}, "choices.to");
}

TEST(CudaMoe, OrdersOfExperts) {
  Twins t;
  for (const Choices kind :
       {Choices::kSpread, Choices::kSomeDropped, Choices::kOneGetsAll, Choices::kAllDropped}) {
    for (const auto& [tokens, topk, experts] : std::vector<std::array<int64_t, 3>>{
             {0, 2, 8}, {23, 3, 6}, {1, 1, 1}, {5000, 8, 128}, {40000, 4, 300}}) {
      SCOPED_TRACE(
          fmt::format("kind {}: {} tokens, {} of {}", static_cast<int>(kind), tokens, topk, experts));
      const auto choices = choices_of(t, kind, tokens, topk, experts);
      const bool is_complete = kind == Choices::kSpread || kind == Choices::kOneGetsAll;
      for (const auto& [first, num, padded] : std::vector<std::array<int64_t, 3>>{
               {0, experts, 0}, {experts / 2, (experts + 1) / 2, 0}, {0, experts, tokens * topk / 2 + 30}}) {
        if (padded * num > 4000000 || (padded > 0 && kind == Choices::kOneGetsAll && tokens > 20)) continue;
        SortArgs args{.experts = choices.cpu,
                      .first_expert = first,
                      .num_experts = num,
                      .rows_per_expert = padded,
                      .is_complete = is_complete && num == experts};
        const ExpertOrder cpu = sort_by_expert(args, t.cpu());
        args.experts = choices.gpu;
        expect_equal_orders(sort_by_expert(args, t.gpu()), cpu);
      }
    }
  }
}

// Also rows that nobody uses stay as they are.
TEST(CudaMoe, OrdersWithRoomForSome) {
  Twins t;
  for (const Choices kind : {Choices::kSpread, Choices::kSomeDropped, Choices::kOneGetsAll}) {
    const int64_t tokens = 700, topk = 4, cols = 24;
    const auto choices = choices_of(t, kind, tokens, topk, 9);
    for (const auto& [max_rows, max_tokens] :
         std::vector<std::array<int64_t, 2>>{{3000, 0}, {1000, 0}, {1000, 300}, {3000, 699}, {1, 1}}) {
      SCOPED_TRACE(fmt::format("kind {}: {} rows, {} tokens", static_cast<int>(kind), max_rows, max_tokens));
      const auto dropped = t.of({3}, {1}, DType::kF64);
      SortArgs args{.experts = choices.cpu,
                    .first_expert = 2,
                    .num_experts = 6,
                    .max_rows = max_rows,
                    .max_tokens = max_tokens,
                    .dropped = dropped.cpu};
      const ExpertOrder cpu = sort_by_expert(args, t.cpu());
      args.experts = choices.gpu;
      args.dropped = dropped.gpu;
      const ExpertOrder gpu = sort_by_expert(args, t.gpu());
      expect_equal_orders(gpu, cpu);
      Twins::expect_equal(dropped, "dropped");
      const auto x = t.random({tokens, cols}, DType::kF32, 1);
      const auto out = t.poisoned({max_rows, cols}, DType::kF32);
      permute_rows(x.cpu, cpu.tokens, out.cpu, t.cpu());
      permute_rows(x.gpu, gpu.tokens, out.gpu, t.gpu());
      const int64_t rows = to_vector<int64_t>(cpu.offsets).back();
      Twins::expect_equal({out.cpu.slice(0, 0, rows), out.gpu.slice(0, 0, rows)}, "rows");
      for (const double value : conformance::values_of(out.gpu.slice(0, rows, max_rows)))
        EXPECT_TRUE(std::isnan(value));
    }
  }
}

TEST(CudaMoe, DropsOverCapacity) {
  Twins t;
  for (const Choices kind : {Choices::kSpread, Choices::kSomeDropped, Choices::kOneGetsAll}) {
    for (const DType dtype : {DType::kF64, DType::kF32}) {
      for (const int64_t tokens : {0, 23, 5000}) {
        const auto experts = choices_of(t, kind, tokens, 2, 7);
        // Few different weights, so that places decide among equal ones.
        std::vector<double> weights =
            conformance::values_of(conformance::random_tensor(t.cpu(), {tokens, 2}, dtype, 7));
        for (double& weight : weights) weight = std::round(4 * std::abs(weight)) / 4;
        const auto probs = t.of(weights, {tokens, 2}, dtype);
        for (const TokenDrop policy : {TokenDrop::kProbs, TokenDrop::kPosition}) {
          for (const int64_t capacity : {0, 1, 5, 700, 100000}) {
            DropArgs args{.experts = experts.cpu,
                          .probs = probs.cpu,
                          .num_experts = 7,
                          .capacity = capacity,
                          .policy = policy};
            const Tensor cpu = drop_over_capacity(args, t.cpu());
            args.experts = experts.gpu;
            args.probs = probs.gpu;
            Twins::expect_equal({cpu, drop_over_capacity(args, t.gpu())}, "kept");
          }
        }
      }
    }
  }
}

TEST(CudaMoe, MapsOfRows) {
  Twins t;
  for (const DType dtype : kFloatTypes) {
    for (const Choices kind : {Choices::kSpread, Choices::kSomeDropped, Choices::kOneGetsAll}) {
      for (const int64_t cols : {1, 7, 64, 2056}) {
        for (const Layout layout : kLayouts) {
          for (const int64_t topk : {1, 2, 6}) {
            SCOPED_TRACE(fmt::format("{} kind {} cols {} topk {}", name_of(dtype), static_cast<int>(kind),
                                     cols, topk));
            constexpr int64_t kTokens = 151;
            const auto choices = choices_of(t, kind, kTokens, topk, 5);
            const ExpertOrder cpu = sort_by_expert({.experts = choices.cpu, .num_experts = 5}, t.cpu());
            const ExpertOrder gpu = sort_by_expert({.experts = choices.gpu, .num_experts = 5}, t.gpu());
            const int64_t rows = cpu.tokens.num_to();
            const auto few = t.random({kTokens, cols}, dtype, 8, layout);
            const auto many = t.random({rows, cols}, dtype, 9, layout);
            const auto permuted = t.poisoned({rows, cols}, dtype, layout);
            const auto combined = t.poisoned({kTokens, cols}, dtype, layout);
            permute_rows(few.cpu, cpu.tokens, permuted.cpu, t.cpu());
            permute_rows(few.gpu, gpu.tokens, permuted.gpu, t.gpu());
            Twins::expect_equal(permuted, "permuted");
            combine_rows(many.cpu, cpu.tokens, combined.cpu, t.cpu());
            combine_rows(many.gpu, gpu.tokens, combined.gpu, t.gpu());
            Twins::expect_equal(combined, "combined");
            const auto dots = t.poisoned({rows}, dtype == DType::kF64 ? dtype : DType::kF32);
            row_dots(many.cpu, permuted.cpu, dots.cpu, t.cpu());
            row_dots(many.gpu, permuted.gpu, dots.gpu, t.gpu());
            Twins::expect_close(dots, cols, 1, "dots");
          }
        }
      }
    }
  }
}

TEST(CudaMoe, CopiesForRanks) {
  Twins t;
  for (const Choices kind :
       {Choices::kSpread, Choices::kSomeDropped, Choices::kOneGetsAll, Choices::kAllDropped}) {
    for (const auto& [tokens, topk, experts, ranks] : std::vector<std::array<int64_t, 4>>{{0, 2, 8, 2},
                                                                                          {23, 3, 6, 3},
                                                                                          {1, 1, 1, 1},
                                                                                          {1025, 4, 16, 4},
                                                                                          {5000, 8, 128, 64},
                                                                                          {70001, 2, 8, 2}}) {
      SCOPED_TRACE(fmt::format("kind {}: {} tokens, {} of {}, {} ranks", static_cast<int>(kind), tokens, topk,
                               experts, ranks));
      const auto choices = choices_of(t, kind, tokens, topk, experts);
      const auto copies_on = [&](const Tensor& of, Exec& exec) {
        return copies_for_ranks({.experts = of, .experts_of_rank = experts / ranks, .num_ranks = ranks},
                                exec);
      };
      const RankCopies cpu = copies_on(choices.cpu, t.cpu()), gpu = copies_on(choices.gpu, t.gpu());
      Twins::expect_equal({cpu.places, gpu.places}, "places");
      Twins::expect_equal({cpu.counts, gpu.counts}, "counts");
      int64_t num_copies = 0;
      for (const int64_t count : to_vector<int64_t>(cpu.counts)) num_copies += count;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const int64_t count = to_vector<int64_t>(cpu.counts)[static_cast<size_t>(rank)];
        const auto list = [&](const Tensor& all) { return all.slice(0, rank, rank + 1).slice(1, 0, count); };
        Twins::expect_equal({list(cpu.tokens), list(gpu.tokens)}, "tokens");
      }
      const SentCopies sent_cpu = sent_copies(cpu, choices.cpu, num_copies, t.cpu());
      const SentCopies sent_gpu = sent_copies(gpu, choices.gpu, num_copies, t.gpu());
      Twins::expect_equal({sent_cpu.tokens.from, sent_gpu.tokens.from}, "from");
      Twins::expect_equal({sent_cpu.tokens.to, sent_gpu.tokens.to}, "to");
      Twins::expect_equal({sent_cpu.experts, sent_gpu.experts}, "experts");
    }
  }
}

}  // namespace
}  // namespace megalith
