#include "megalith/kernels/cuda/vendor/gemm_search.h"

#include <algorithm>
#include <limits>

namespace megalith::cuda {
namespace {

constexpr double kNotRun = std::numeric_limits<double>::infinity();

// Of a few calls; one call is enough for what is more than `limit_ms`.
double quick_ms(const GemmAlgorithm& algorithm, double limit_ms, GemmRehearsal& rehearsal) {
  constexpr int kCalls = 3;
  if (!rehearsal.use(algorithm)) return kNotRun;
  if (limit_ms < kNotRun) {
    const double ms = rehearsal.time(1);
    if (ms > limit_ms) return ms;
  }
  return rehearsal.time(kCalls);
}

// The first `fixed` stay where they are, behind them the best by `ms`, `count` in all.
void keep_best(std::vector<GemmTrial>& trials, size_t fixed, size_t count, double GemmTrial::*ms) {
  std::sort(trials.begin() + static_cast<int64_t>(fixed), trials.end(),
            [ms](const GemmTrial& a, const GemmTrial& b) { return a.*ms < b.*ms; });
  trials.resize(std::min(trials.size(), std::max(fixed, count)));
  while (trials.size() > fixed && trials.back().*ms == kNotRun) trials.pop_back();
}

// Adds `rounds` rounds at the power limit to all, in turn, so that the card's heat is no one's alone.
void run_at_limit(std::vector<GemmTrial>& trials, int rounds, double warm_ms, double timed_ms,
                  GemmRehearsal& rehearsal, const GemmSearch::Report& report) {
  for (GemmTrial& each : trials) each.limit_ms = 0;
  double done = 0;
  for (int round = 0; round < rounds; ++round) {
    for (GemmTrial& each : trials) {
      MG_ASSERT(rehearsal.use(each.algorithm));
      each.limit_ms += rehearsal.time_at_limit(each.quick_ms, warm_ms, timed_ms) / rounds;
      report(++done / (static_cast<double>(trials.size()) * rounds));
    }
  }
}

double best_of(const std::vector<GemmTrial>& trials) {
  double best = kNotRun;
  for (const GemmTrial& each : trials) best = std::min(best, each.quick_ms);
  return best;
}

}  // namespace

// The first and the last setting of a tile, which differ in cluster and option, tell whether those between
// are worth the time that their kernels take to load.
void GemmSearch::try_all_settings(GemmPlan& plan, GemmRehearsal& rehearsal, std::vector<GemmTrial>& trials,
                                  const Report& report) {
  constexpr size_t kProbes = 2;
  constexpr double kWavesOfFirst = 2, kSlowTile = 1.35, kSlow = 1.15;
  struct Tile {
    std::vector<GemmAlgorithm> settings;
    size_t num_tried = 0;
    double best_ms = kNotRun;
  };
  const cublasLtHandle_t handle = exec_.slots().get<CublasLt>().handle();
  const GemmKey& key = plan.key();
  std::set<GemmTile>& slow_tiles = slow_tiles_[{key.dtype, key.transpose_a, key.transpose_b}];
  MG_ASSERT(plan.use(trials.front().algorithm, handle));
  std::map<GemmTile, Tile> tiles;
  for (const GemmPlan::Setting& setting :
       plan.all_settings(tuning_.num_candidates, kWavesOfFirst * plan.waves(), handle)) {
    const bool is_known = std::any_of(trials.begin(), trials.end(), [&](const GemmTrial& each) {
      return each.algorithm == setting.algorithm;
    });
    if (!is_known && !slow_tiles.contains(setting.tile))
      tiles[setting.tile].settings.push_back(setting.algorithm);
  }

  double best_ms = best_of(trials);
  const auto try_one = [&](Tile& tile, size_t at) {
    const double ms = quick_ms(tile.settings[at], kSlow * best_ms, rehearsal);
    trials.push_back({tile.settings[at], ms});
    tile.best_ms = std::min(tile.best_ms, ms);
    best_ms = std::min(best_ms, ms);
  };
  double num_done = 0;
  for (auto& [name, tile] : tiles) {
    const size_t count = tile.settings.size(), probes = std::min(kProbes, count);
    for (size_t i = 0; i < probes; ++i) {
      std::swap(tile.settings[i], tile.settings[i * (count - 1)]);
      try_one(tile, i);
    }
    tile.num_tried = probes;
    report(0.5 * ++num_done / static_cast<double>(tiles.size()));
  }
  std::vector<Tile*> worthwhile;
  for (auto& [name, tile] : tiles) {
    if (tile.best_ms > kSlowTile * best_ms) slow_tiles.insert(name);
    if (tile.best_ms <= kSlow * best_ms) worthwhile.push_back(&tile);
  }
  std::sort(worthwhile.begin(), worthwhile.end(),
            [](const Tile* a, const Tile* b) { return a->best_ms < b->best_ms; });
  num_done = 0;
  for (Tile* tile : worthwhile) {
    for (size_t i = tile->num_tried; i < tile->settings.size(); ++i) try_one(*tile, i);
    report(0.5 + 0.5 * ++num_done / static_cast<double>(worthwhile.size()));
  }
}

std::vector<GemmTrial> GemmSearch::run(GemmPlan& plan, const Report& report) {
  constexpr size_t kNarrowFinalists = 5, kWideFinalists = 6, kMiddle = 24;
  constexpr double kMiddleMs = 40, kLongMs = 200;
  constexpr int kLongRounds = 2;
  GemmRehearsal rehearsal(plan, exec_);
  const cublasLtHandle_t handle = exec_.slots().get<CublasLt>().handle();
  std::vector<GemmAlgorithm> candidates = plan.candidates(tuning_.num_candidates, handle);
  const GemmAlgorithm present = plan.algorithm();
  size_t fixed = 1;
  if (candidates.front() != present) {
    std::erase(candidates, present);
    candidates.insert(candidates.begin() + 1, present);
    fixed = 2;
  }
  std::vector<GemmTrial> trials;
  for (const GemmAlgorithm& each : candidates) trials.push_back({each, quick_ms(each, kNotRun, rehearsal)});
  for (size_t i = 0; i < fixed; ++i) {
    if (trials[i].quick_ms == kNotRun) return {};
  }
  double before = 0, share = 0;
  const auto part = [&](double done) { report(before + share * done); };
  if (tuning_.tries_all_settings) {
    share = 0.5;
    try_all_settings(plan, rehearsal, trials, part);
    keep_best(trials, fixed, kMiddle, &GemmTrial::quick_ms);
    before = 0.5, share = 0.1;
    run_at_limit(trials, 1, kMiddleMs / 2, kMiddleMs, rehearsal, part);
    keep_best(trials, fixed, kWideFinalists, &GemmTrial::limit_ms);
  } else {
    keep_best(trials, fixed, kNarrowFinalists, &GemmTrial::quick_ms);
  }
  before += share, share = 1 - before;
  run_at_limit(trials, kLongRounds, kLongMs, kLongMs, rehearsal, part);
  return trials;
}

}  // namespace megalith::cuda
