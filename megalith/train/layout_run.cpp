#include "megalith/train/layout_run.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "megalith/comm/host_numbers.h"
#include "megalith/comm/launch.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/train/build_model.h"
#include "megalith/train/gather_gradients.h"
#include "megalith/train/train_step.h"

namespace megalith {
namespace {

// Keeps the place that used up most of its allowance; what is not a number is worse than all numbers.
void keep_worst(LayoutDeviation& worst, double deviation, double allowed, const std::string& where) {
  if (std::isnan(deviation)) deviation = std::numeric_limits<double>::infinity();
  if (worst.where.empty() || deviation / allowed > worst.share()) worst = {deviation, allowed, where};
}

double gradient_deviation(const std::vector<float>& expected, const std::vector<float>& actual) {
  if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double largest = 0, worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(static_cast<double>(expected[i]) - static_cast<double>(actual[i]));
    if (std::isnan(difference)) return difference;
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
    worst = std::max(worst, difference);
  }
  return worst == 0 ? 0 : worst / largest;
}

// In all ranks or in none: what one of them cannot build is thrown in all.
std::unique_ptr<GptModel> build_together(const GptConfig& config, const Mesh& mesh, Communicator& host,
                                         Exec& exec) {
  std::unique_ptr<GptModel> model;
  std::string reason;
  try {
    model = build_model(config, mesh, exec);
  } catch (const UsageError& error) {
    reason = error.what();
  }
  HostNumbers numbers;
  const int64_t has_reason = reason.empty() ? 0 : 1;
  const std::vector<int64_t> have = numbers.gather(host, {&has_reason, 1});
  const auto first = std::find(have.begin(), have.end(), 1);
  if (first == have.end()) return model;
  throw UsageError(numbers.broadcast(host, reason, static_cast<int>(first - have.begin()), "why not"));
}

}  // namespace

LayoutRunner::LayoutRunner(const RunConfig& config, const Vocabulary& vocabulary, const Options& options)
    : config_(config),
      options_(options),
      masks_{.eod = vocabulary.eod,
             .eod_mask_loss = config.data.eod_mask_loss,
             .reset_position_ids = config.data.reset_position_ids,
             .reset_attention_mask = config.data.reset_attention_mask} {
  const int64_t samples = options.num_steps * config.train.batch_size();
  datasets_ = build_datasets(config.data, {samples, 0, 0}, vocabulary);
}

LayoutRun LayoutRunner::run(const ParallelConfig& parallel, int num_ranks) const {
  LayoutRun result;
  run_ranks(num_ranks, [&](Communicator& host) {
    const int index = options_.device == DeviceKind::kCpu ? 0 : host.rank();
    LayoutRun of_rank = run_rank(parallel, host, {options_.device, index});
    if (host.rank() == 0) result = std::move(of_rank);
  });
  return result;
}

LayoutRun LayoutRunner::run_rank(const ParallelConfig& parallel, Communicator& host, Device device) const {
  RunConfig config = config_;
  config.parallel = parallel;
  check_layout(config, host.size());
  const int64_t batch_size = config.train.batch_size();
  LayoutRun result;
  Exec exec({.device = device,
             .num_threads = options_.num_threads,
             .seed = static_cast<uint64_t>(config.data.seed)});
  const RankWorld world(host, exec);
  const Mesh mesh(world.comm(), config.parallel);
  const auto model = build_together(config.model, mesh, host, exec);
  world.run([&](Communicator&) {
    ParameterStore& store = model->parameters();
    store.initialize(exec);
    store.allocate_gradients(exec, config.optim.gradient_dtype());
    AdamW optimizer(store, config.optim, exec);
    const ParamSchedule schedule(config.optim, {.train_samples = config.train.train_iters * batch_size,
                                                .samples_per_iteration = batch_size});
    TrainStep step({.model = model.get(), .optimizer = &optimizer, .schedule = &schedule, .mesh = &mesh},
                   config.train, config.optim.clip_grad);
    BatchLoader loader(datasets_[0], {.micro_batch_size = config.train.micro_batch_size,
                                      .data_parallel_rank = mesh.rank(Axis::kDp),
                                      .data_parallel_size = mesh.size(Axis::kDp),
                                      .masks = masks_});
    for (int i = 0; i < options_.num_steps; ++i) {
      const StepResult one = step.run(
          i + 1, i * batch_size, [&](HostBatch& batch) { loader.next(batch); }, exec);
      if (i == 0) result.first_gradients = gather_gradients(host, store);
      if (host.rank() != 0) continue;
      result.losses.push_back(one.loss);
      result.grad_norms.push_back(one.grad_norm);
      result.dropped_choices.push_back(one.dropped_choices);
    }
  });
  return result;
}

double layout_tolerance(const RunConfig& config) {
  constexpr double kEps = 0x1p-24, kSumsOfLayer = 24;
  const GptConfig& model = config.model;
  const auto longest = static_cast<double>(
      std::max({config.train.batch_size() * config.data.seq_length, model.padded_vocab_size(),
                model.hidden_size, model.ffn_size(), model.expert_ffn_size()}));
  return kEps * std::sqrt(longest * kSumsOfLayer * static_cast<double>(model.num_layers));
}

LayoutDeviation compare_layouts(const LayoutRun& expected, const LayoutRun& actual, double tolerance) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  LayoutDeviation worst;
  const auto compare_steps = [&](const std::vector<double>& a, const std::vector<double>& b, double allowed,
                                 const char* what) {
    for (size_t i = 0; i < a.size(); ++i)
      keep_worst(worst, i < b.size() ? std::abs(a[i] - b[i]) / std::abs(a[i]) : kNever, allowed,
                 fmt::format("{} of step {}", what, i + 1));
  };
  compare_steps(expected.losses, actual.losses, tolerance, "loss");
  compare_steps(expected.grad_norms, actual.grad_norms, 5 * tolerance, "gradient norm");
  for (const auto& [name, gradient] : expected.first_gradients) {
    const auto found = actual.first_gradients.find(name);
    keep_worst(worst,
               found == actual.first_gradients.end() ? kNever : gradient_deviation(gradient, found->second),
               tolerance, "gradient of " + name);
  }
  for (const auto& [name, gradient] : actual.first_gradients)
    if (!expected.first_gradients.contains(name)) keep_worst(worst, kNever, tolerance, "gradient of " + name);
  return worst;
}

}  // namespace megalith
