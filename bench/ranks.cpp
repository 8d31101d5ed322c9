// What ranks on threads cost on a CPU:
// - a training step of one rank thread against one of a run without ranks, taken in turns. Where a run's
//   memory lies makes some per cent, so several pairs of runs are made; each gives the median of the ratios
//   of neighbours, of time and of processor time (which other programs disturb less);
// - the start and the end of 8 rank threads with a meeting of all of them.
//
//     bench_ranks [THREADS [PAIRS]]      threads of each rank, 1 by default; pairs of runs, 4 by default
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <future>
#include <optional>
#include <semaphore>
#include <vector>

#include "megalith/base/error.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/train/build_model.h"
#include "megalith/train/train_step.h"

namespace megalith {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kSeq = 256, kBatch = 4, kVocabulary = 8192;
constexpr int kRounds = 11, kStepsOfRound = 2;

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// recipes/llama-tiny.yaml's shape.
GptConfig model_config() {
  GptConfig c;
  c.num_layers = 4;
  c.hidden_size = 256;
  c.num_attention_heads = 8;
  c.num_query_groups = 4;
  c.ffn_hidden_size = 704;
  c.vocab_size = kVocabulary;
  c.max_position_embeddings = kSeq;
  c.position_embedding_type = "rope";
  c.normalization = "RMSNorm";
  c.swiglu = true;
  c.add_bias_linear = false;
  c.untie_embeddings_and_output_weights = true;
  c.hidden_dropout = c.attention_dropout = 0;
  return c;
}

void draw_batch(HostBatch& batch) {
  resize_batch(batch, kBatch, kSeq);
  std::vector<int32_t> text(static_cast<size_t>(kSeq) + 1);
  uint64_t draws = 0;
  for (int64_t row = 0; row < kBatch; ++row) {
    for (int32_t& token : text) token = static_cast<int32_t>(RngKey{1, 2}.bits(draws++) % kVocabulary);
    fill_row(batch, row, text, {});
  }
  finish_batch(batch);
}

struct StepTime {
  double ms = 0, processor_ms = 0;
};

/// A model that has made its first steps.
class Run {
 public:
  Run(const Mesh& mesh, int num_threads)
      : exec_({.num_threads = num_threads}), model_(build_model(model_config(), mesh, exec_)) {
    model_->parameters().initialize(exec_);
    model_->parameters().allocate_gradients(exec_);
    optim_.lr = 1e-4;
    optim_.lr_decay_style = "constant";
    train_.train_iters = 1000;
    train_.micro_batch_size = train_.global_batch_size = kBatch;
    optimizer_ = std::make_unique<AdamW>(model_->parameters(), optim_, exec_);
    schedule_ = std::make_unique<ParamSchedule>(
        optim_, ParamSchedule::Length{.train_samples = 1000 * kBatch, .samples_per_iteration = kBatch});
    step_ = std::make_unique<TrainStep>(
        TrainStep::Parts{
            .model = model_.get(), .optimizer = optimizer_.get(), .schedule = schedule_.get(), .mesh = &mesh},
        train_, optim_.clip_grad);
    draw_batch(batch_);
    step();
  }

  StepTime step() {
    const auto begin = Clock::now();
    const std::clock_t processor_begin = std::clock();
    for (int i = 0; i < kStepsOfRound; ++i)
      step_->run(
          ++iteration_, 0, [&](HostBatch& out) { out = batch_; }, exec_);
    const auto ticks = static_cast<double>(std::clock() - processor_begin);
    return {ms_since(begin) / kStepsOfRound, ticks * 1e3 / CLOCKS_PER_SEC / kStepsOfRound};
  }

 private:
  Exec exec_;
  std::unique_ptr<LanguageModel> model_;
  OptimConfig optim_;
  TrainConfig train_;
  std::unique_ptr<AdamW> optimizer_;
  std::unique_ptr<ParamSchedule> schedule_;
  std::unique_ptr<TrainStep> step_;
  HostBatch batch_;
  int64_t iteration_ = 0;
};

/// A run in a rank thread, one round of steps at a time.
class RankThread {
 public:
  explicit RankThread(int num_threads)
      : done_(std::async(std::launch::async, [this, num_threads] {
          run_ranks(1, [&](Communicator& world) {
            const Mesh mesh(world, {});
            Run run(mesh, num_threads);
            while (begin_.acquire(), !ends_) {
              step_ = run.step();
              end_.release();
            }
          });
        })) {}
  ~RankThread() {
    ends_ = true;
    begin_.release();
  }
  StepTime step() {
    begin_.release();
    end_.acquire();
    return step_;
  }

 private:
  std::binary_semaphore begin_{0}, end_{0};
  bool ends_ = false;
  StepTime step_;
  std::future<void> done_;
};

struct Ratios {
  double time = 0, processor_time = 0, plain_ms = 0;
};

/// Of a rank thread to a run without ranks, whose memory is asked for first or second.
Ratios measure_pair(int num_threads, bool rank_is_made_first) {
  const Mesh one;
  std::optional<Run> plain;
  if (!rank_is_made_first) plain.emplace(one, num_threads);
  RankThread rank(num_threads);
  rank.step();
  if (rank_is_made_first) plain.emplace(one, num_threads);
  std::vector<double> ratios, processor_ratios, plain_ms;
  for (int round = 0; round < kRounds; ++round) {
    // Each goes first as often.
    const bool rank_first = round % 2 == 0;
    const StepTime first = rank_first ? rank.step() : plain->step();
    const StepTime second = rank_first ? plain->step() : rank.step();
    const StepTime of_rank = rank_first ? first : second, of_plain = rank_first ? second : first;
    plain_ms.push_back(of_plain.ms);
    ratios.push_back(of_rank.ms / of_plain.ms);
    processor_ratios.push_back(of_rank.processor_ms / of_plain.processor_ms);
  }
  return {median(ratios), median(processor_ratios), median(plain_ms)};
}

/// "1.0012 +- 0.0034": the mean and its standard error.
std::string mean_of(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (const double value : values) mean += value / n;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return values.size() < 2 ? fmt::format("{:.4f}", mean)
                           : fmt::format("{:.4f} +- {:.4f}", mean, std::sqrt(squares / (n - 1) / n));
}

void run(int num_threads, int num_pairs) {
  std::vector<double> ratios, processor_ratios;
  for (int pair = 0; pair < num_pairs; ++pair) {
    const Ratios of_pair = measure_pair(num_threads, pair % 2 == 1);
    ratios.push_back(of_pair.time);
    processor_ratios.push_back(of_pair.processor_time);
    std::printf("pair %d of %d: %.4f of the time and %.4f of the processor time (%.2f ms)\n", pair + 1,
                num_pairs, of_pair.time, of_pair.processor_time, of_pair.plain_ms);
    std::fflush(stdout);
  }
  std::printf("a step of one rank thread: %s of the time and %s of the processor time of one without ranks\n",
              mean_of(ratios).c_str(), mean_of(processor_ratios).c_str());

  std::vector<double> starts;
  for (int i = 0; i < 20; ++i) {
    const auto begin = Clock::now();
    run_ranks(8, [](Communicator& world) {
      const Mesh mesh(world, {.tensor_model_parallel_size = 2, .pipeline_model_parallel_size = 2});
      world.barrier("all are here");
    });
    starts.push_back(ms_since(begin));
  }
  std::printf("8 rank threads: start, mesh, a meeting and the end: %.2f ms (worst of 20: %.2f ms)\n",
              median(starts), *std::max_element(starts.begin(), starts.end()));
}

}  // namespace
}  // namespace megalith

int main(int argc, char** argv) {
  try {
    megalith::run(argc > 1 ? std::max(1, std::atoi(argv[1])) : 1,
                  argc > 2 ? std::max(1, std::atoi(argv[2])) : 4);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
