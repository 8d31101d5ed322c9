#include "megalith/plan/layout_estimate.h"

#include <algorithm>

#include "megalith/base/error.h"
#include "megalith/models/gpt/gpt_flops.h"
#include "megalith/parallel/pipeline/simulate.h"
#include "megalith/parallel/stage_layout.h"
#include "megalith/plan/data_traffic.h"
#include "megalith/plan/layer_traffic.h"
#include "megalith/plan/stage_work.h"

namespace megalith {
namespace {

// Seconds of one microbatch in a stage, its collectives included.
struct StageTime {
  double forward = 0, backward_input = 0, backward_weight = 0;
  double total() const { return forward + backward_input + backward_weight; }
};

void require_divides(int64_t value, const char* key, int ranks, const char* axis) {
  if (value % ranks != 0)
    throw UsageError(fmt::format("{} {} is not a multiple of {} {}", key, value, axis, ranks));
}

void check_model(const RunConfig& config, const MeshShape& shape) {
  require_divides(config.model.num_attention_heads, "num_attention_heads", shape.tp,
                  "tensor_model_parallel_size");
  require_divides(config.model.query_groups(), "num_query_groups", shape.tp, "tensor_model_parallel_size");
  require_divides(config.model.ffn_size(), "ffn_hidden_size", shape.tp, "tensor_model_parallel_size");
  if (config.parallel.cp_comm_type == "a2a")
    require_divides(config.model.query_groups() / shape.tp, "num_query_groups of a rank", shape.cp,
                    "context_parallel_size");
  if (config.parallel.cp_comm_type == "a2a+p2p")
    require_divides(config.model.query_groups() / shape.tp, "num_query_groups of a rank",
                    static_cast<int>(config.parallel.hierarchical_context_parallel_sizes[0]),
                    "hierarchical_context_parallel_sizes");
  if (!config.model.moe.has_experts()) return;
  require_divides(config.model.moe.num_experts, "num_experts", shape.ep, "expert_model_parallel_size");
  require_divides(config.model.expert_ffn_size(), "moe_ffn_hidden_size", shape.etp,
                  "expert_tensor_parallel_size");
}

class Estimator {
 public:
  Estimator(const RunConfig& config, int world, const Cluster& cluster)
      : config_(config), cluster_(cluster), shape_(mesh_shape(config.parallel, world)), layout_(shape_) {
    check_layout(config, world);
    check_model(config, shape_);
    num_microbatches_ = config.train.num_microbatches(shape_.dp);
    pipeline_.schedule = make_schedule(schedule_options(config.parallel, num_microbatches_));
    pipeline_.stages = split_layers({.num_layers = config.model.num_layers,
                                     .num_stages = pipeline_.schedule.num_stages(),
                                     .layout = config.parallel.pipeline_model_parallel_layout});
  }

  LayoutEstimate run() {
    LayoutEstimate result{.config = config_, .shape = shape_, .num_microbatches = num_microbatches_};
    add_inline("tp", {Axis::kTp}, tensor_traffic, LayerKind::kAll, result);
    add_inline("cp", {Axis::kCp}, context_traffic, LayerKind::kAll, result);
    if (config_.model.moe.has_experts())
      add_inline("ep", {Axis::kEp}, expert_traffic, LayerKind::kExperts, result);
    run_pipeline(result);
    add_data(result);
    weigh(result);
    return result;
  }

 private:
  enum class LayerKind { kAll, kExperts };
  using TrafficOf = InlineTraffic (*)(const RunConfig&, const MeshShape&, const Link&);

  int64_t num_layers(const StageLayers& stage, LayerKind kind) const {
    if (kind == LayerKind::kAll) return stage.count;
    int64_t count = 0;
    for (int64_t layer = stage.first; layer < stage.first + stage.count; ++layer)
      count += has_experts(config_.model, layer) ? 1 : 0;
    return count;
  }

  // The step's traffic is that of the rank with most of these layers.
  void add_inline(const char* name, const std::vector<Axis>& axes, TrafficOf traffic_of, LayerKind kind,
                  LayoutEstimate& result) {
    const Link link = group_link(layout_, axes, cluster_);
    if (link.ranks == 1) return;
    const InlineTraffic traffic = traffic_of(config_, shape_, link);
    stage_extra_.resize(pipeline_.stages.size());
    std::vector<double> layers_of_rank(static_cast<size_t>(shape_.pp));
    for (size_t stage = 0; stage < pipeline_.stages.size(); ++stage) {
      const auto count = static_cast<double>(num_layers(pipeline_.stages[stage], kind));
      stage_extra_[stage].forward += count * (traffic.forward_seconds - traffic.hidden_forward_seconds);
      stage_extra_[stage].backward_input +=
          count * (traffic.backward_seconds - traffic.hidden_backward_seconds);
      layers_of_rank[static_cast<size_t>(pipeline_.schedule.rank_of(static_cast<int>(stage)))] += count;
    }
    const double layers = *std::max_element(layers_of_rank.begin(), layers_of_rank.end()) *
                          static_cast<double>(num_microbatches_);
    if (kind == LayerKind::kExperts) {
      double all_layers = 0;
      for (const double count : layers_of_rank) all_layers += count;
      expert_transfers_ = {.forward = traffic.forward_seconds * all_layers / shape_.pp,
                           .backward_input = traffic.backward_seconds * all_layers / shape_.pp};
    }
    const double seconds = layers * (traffic.forward_seconds + traffic.backward_seconds);
    const double hidden = layers * (traffic.hidden_forward_seconds + traffic.hidden_backward_seconds);
    result.traffic.push_back({.axis = name,
                              .link = link,
                              .bytes = layers * (traffic.forward_bytes + traffic.backward_bytes),
                              .seconds = seconds,
                              .exposed = seconds - hidden});
  }

  void run_pipeline(LayoutEstimate& result) {
    std::vector<double> work;
    StageTime mean, mean_alone;
    const auto ranks = static_cast<double>(shape_.pp), microbatches = static_cast<double>(num_microbatches_);
    std::vector<double> computing(static_cast<size_t>(shape_.pp));
    stage_extra_.resize(pipeline_.stages.size());
    for (size_t stage = 0; stage < pipeline_.stages.size(); ++stage) {
      const StageWork alone = stage_work(config_, shape_, pipeline_.stages[stage], cluster_);
      const StageTime time{.forward = alone.forward + stage_extra_[stage].forward,
                           .backward_input = alone.backward_input + stage_extra_[stage].backward_input,
                           .backward_weight = alone.backward_weight};
      computing[static_cast<size_t>(pipeline_.schedule.rank_of(static_cast<int>(stage)))] += alone.total();
      work.push_back(time.total());
      mean.forward += time.forward / ranks;
      mean.backward_input += time.backward_input / ranks;
      mean.backward_weight += time.backward_weight / ranks;
      mean_alone.forward += alone.forward / ranks;
      mean_alone.backward_input += alone.backward_input / ranks;
      mean_alone.backward_weight += alone.backward_weight / ranks;
    }
    const double mean_work = mean.total() * ranks / static_cast<double>(work.size());
    for (double& w : work) w /= mean_work;

    ActionCosts costs{.forward = mean.forward,
                      .backward_input = mean.backward_input,
                      .backward_weight = mean.backward_weight,
                      .saved_by_pair = saved_by_pair(mean_alone),
                      .stage_work = work};
    const Link link = group_link(layout_, {Axis::kPp}, cluster_);
    const double message = boundary_bytes();
    if (link.ranks > 1) costs.transfer = collective_seconds(Transfer::kPeer, message, link);
    hide_expert_traffic(costs.saved_by_pair, result);
    const Timeline timeline = simulate(pipeline_.schedule, costs);
    pipeline_.peak_in_flight = timeline.peak_in_flight;
    pipeline_seconds_ = timeline.duration;
    backward_seconds_ = mean.backward_input + mean.backward_weight;
    microbatch_seconds_ = mean.total();
    result.bubble_fraction = timeline.bubble_fraction;
    result.compute_seconds = *std::max_element(computing.begin(), computing.end()) * microbatches;
    if (link.ranks > 1) {
      const double messages = 2 * microbatches * static_cast<double>(pipeline_.schedule.num_chunks);
      result.traffic.push_back({.axis = "pp",
                                .link = link,
                                .bytes = messages * message,
                                .seconds = messages * costs.transfer,
                                .exposed = exposed_transfers(costs, timeline.duration)});
    }
  }

  // Of a forward beside a backward: what travels for the one hides behind what the other computes.
  double saved_by_pair(const StageTime& computing) const {
    if (!config_.parallel.overlap_moe_expert_parallel_comm) return 0;
    return std::min(expert_transfers_.forward, computing.backward_input + computing.backward_weight) +
           std::min(expert_transfers_.backward_input, computing.forward);
  }

  // As often as the rank with the fewest pairs can.
  void hide_expert_traffic(double saved_by_pair, LayoutEstimate& result) const {
    std::ptrdiff_t fewest = num_microbatches_ * pipeline_.schedule.num_chunks;
    for (const std::vector<Action>& order : pipeline_.schedule.ranks)
      fewest = std::min(fewest, std::count_if(order.begin(), order.end(),
                                              [](const Action& action) { return action.is_paired; }));
    for (AxisTraffic& traffic : result.traffic)
      if (traffic.axis == "ep")
        traffic.exposed -= saved_by_pair * static_cast<double>(fewest) / pipeline_.schedule.num_chunks;
  }

  double exposed_transfers(ActionCosts costs, double duration) const {
    costs.transfer = 0;
    return duration - simulate(pipeline_.schedule, costs).duration;
  }

  double boundary_bytes() const {
    const double rows = config_.parallel.sequence_parallel ? shape_.tp : 1;
    return static_cast<double>(config_.train.micro_batch_size * config_.data.seq_length *
                               config_.model.hidden_size) *
           static_cast<double>(size_of(config_.model.dtype())) / (shape_.cp * rows);
  }

  void add_data(LayoutEstimate& result) {
    for (int rank = 0; rank < shape_.pp; ++rank) {
      result.memory.push_back(rank_memory(config_, shape_, pipeline_, rank));
      if (result.memory.back().total() > result.fullest().total()) result.fullest_rank = rank;
    }
    RankParameters most;  // of the rank that has most to move
    for (int rank = 0; rank < shape_.pp; ++rank) {
      const RankParameters held = rank_parameters(config_.model, shape_, pipeline_, rank);
      if (held.total() > most.total()) most = held;
    }
    const auto dense = static_cast<double>(most.dense), experts = static_cast<double>(most.experts);
    add_group("dp", {Axis::kDp, Axis::kCp}, dense, static_cast<double>(most.largest_dense) / dense, result);
    if (experts > 0)
      add_group("edp", {Axis::kEdp}, experts, static_cast<double>(most.largest_experts) / experts, result);
    const std::string& strategy = config_.parallel.data_parallel_sharding_strategy;
    const double shards = strategy == "no_shard"
                              ? 1
                              : static_cast<double>(shape_.dp * shape_.cp) /
                                    static_cast<double>(config_.parallel.num_distributed_optimizer_instances);
    // AdamW reads the gradient, reads and writes moments and master weight, writes the weight; the norm reads
    // the gradient once more.
    const double expert_shards = strategy == "no_shard" ? 1 : std::max(1, shape_.edp);
    const double bytes = 26 + 2 * static_cast<double>(size_of(config_.optim.gradient_dtype()));
    result.optimizer_seconds =
        bytes * (dense / shards + experts / expert_shards) / (cluster_.memory_gb_per_s * 1e9);
  }

  // What is summed last cannot hide behind the backward of another unit: a unit's share, or a bucket's.
  void add_group(const char* name, const std::vector<Axis>& axes, double elements, double unit_share,
                 LayoutEstimate& result) {
    const Link link = group_link(layout_, axes, cluster_);
    if (link.ranks == 1) return;
    const auto microbatches = static_cast<double>(num_microbatches_);
    const DataTraffic traffic = data_traffic(config_, elements, microbatches, link);
    const std::string& strategy = config_.parallel.data_parallel_sharding_strategy;
    const double runs = strategy == "no_shard" || strategy == "optim" ? 1 : microbatches;
    const auto exposed = [&](double seconds, double window, double last_share, bool overlaps) {
      return overlaps ? std::max(seconds - window, std::min(seconds, seconds / runs * last_share)) : seconds;
    };
    const double bucket_share = static_cast<double>(config_.parallel.ddp_bucket_size) / elements;
    const double forward_seconds = microbatch_seconds_ - backward_seconds_;
    result.traffic.push_back(
        {.axis = name,
         .link = link,
         .bytes = traffic.bytes,
         .seconds = traffic.gradient_seconds + traffic.weight_seconds,
         .exposed = exposed(traffic.gradient_seconds, runs * backward_seconds_,
                            std::max(unit_share, bucket_share), config_.parallel.overlap_grad_reduce) +
                    exposed(traffic.weight_seconds, runs * forward_seconds, unit_share,
                            config_.parallel.overlap_param_gather)});
  }

  void weigh(LayoutEstimate& result) const {
    result.step_seconds = pipeline_seconds_ + result.optimizer_seconds;
    for (const AxisTraffic& traffic : result.traffic)
      if (traffic.axis == "dp" || traffic.axis == "edp") result.step_seconds += traffic.exposed;
    const auto tokens = static_cast<double>(config_.train.batch_size() * config_.data.seq_length);
    result.tokens_per_second_per_gpu = tokens / result.step_seconds / shape_.world;
    result.tflops_per_gpu = result.tokens_per_second_per_gpu *
                            gpt_flops_per_token(config_.model, config_.data.seq_length).true_work * 1e-12;
    result.fits = static_cast<double>(result.fullest().total()) < 0.96 * cluster_.gpu_memory_gib * (1 << 30);
  }

  RunConfig config_;
  Cluster cluster_;
  MeshShape shape_;
  RankLayout layout_;
  int64_t num_microbatches_ = 0;
  PipelinePlan pipeline_;
  std::vector<StageTime> stage_extra_;  // collectives, by stage
  StageTime expert_transfers_;          // of these, dispatch and combine of one microbatch, the mean rank
  double pipeline_seconds_ = 0, backward_seconds_ = 0, microbatch_seconds_ = 0;
};

}  // namespace

LayoutEstimate estimate_layout(const RunConfig& config, int world, const Cluster& cluster) {
  return Estimator(config, world, cluster).run();
}

}  // namespace megalith
