#include "megalith/parallel/pipeline/layer_split.h"

#include <algorithm>

#include "megalith/base/error.h"
#include "megalith/parallel/pipeline/layout_text.h"

namespace megalith {
namespace {

std::vector<StageLayers> split_evenly(const LayerSplit& split) {
  const auto num_stages = static_cast<size_t>(split.num_stages);
  std::vector<StageLayers> stages(num_stages);
  std::vector<double> load(num_stages, 0);
  load.front() += split.embedding_weight;
  load.back() += split.loss_weight;
  for (int64_t layer = 0; layer < split.num_layers; ++layer) {
    size_t lightest = num_stages - 1;
    for (size_t stage = num_stages - 1; stage-- > 0;)
      if (load[stage] < load[lightest]) lightest = stage;
    ++stages[lightest].count;
    load[lightest] += 1;
  }
  stages.front().has_embedding = true;
  stages.back().has_loss = true;
  stages.back().num_mtp = split.num_mtp_layers;
  for (size_t stage = 0; stage < num_stages; ++stage) {
    // An embedding or a loss that counts for nothing is no work for a stage.
    const bool is_empty = stages[stage].count == 0 && load[stage] == 0;
    if (is_empty)
      throw UsageError(fmt::format("num_layers {} over {} pipeline stages leaves stage {} without work",
                                   split.num_layers, num_stages, stage));
  }
  return stages;
}

[[noreturn]] void refuse(const LayerSplit& split, const std::string& why) {
  throw UsageError(fmt::format("pipeline_model_parallel_layout '{}': {}", split.layout, why));
}

StageLayers read_stage(const LayerSplit& split, const std::string& parts, int stage) {
  StageLayers result;
  if (parts.empty()) refuse(split, fmt::format("stage {} is empty", stage));
  const std::string order = "EtmL";
  size_t latest = 0;
  for (const char part : parts) {
    const size_t place = order.find(part);
    if (place < latest)
      refuse(split,
             fmt::format("stage {} has {} behind {}; the order is E, t, m, L", stage, part, order[latest]));
    latest = place;
    const bool is_second = (part == 'E' && result.has_embedding) || (part == 'L' && result.has_loss);
    if (is_second) refuse(split, fmt::format("stage {} has {} twice", stage, part));
    result.has_embedding |= part == 'E';
    result.has_loss |= part == 'L';
    result.count += part == 't';
    result.num_mtp += part == 'm';
  }
  return result;
}

std::vector<StageLayers> split_by_layout(const LayerSplit& split) {
  const std::vector<std::string> texts = expand_layout(split.layout);
  if (static_cast<int>(texts.size()) != split.num_stages)
    refuse(split, fmt::format("it has {} stages, the pipeline has {} (ranks x model chunks)", texts.size(),
                              split.num_stages));
  std::vector<StageLayers> stages;
  int64_t num_layers = 0;
  int64_t num_mtp = 0;
  bool has_mtp = false;
  for (size_t stage = 0; stage < texts.size(); ++stage) {
    stages.push_back(read_stage(split, texts[stage], static_cast<int>(stage)));
    const StageLayers& last = stages.back();
    if (last.has_embedding != (stage == 0)) refuse(split, "the first stage, and no other, begins with E");
    if (last.has_loss != (stage + 1 == texts.size()))
      refuse(split, "the last stage, and no other, ends with L");
    if (has_mtp && last.count > 0)
      refuse(split, fmt::format("stage {} has t behind m; the order is E, t, m, L", stage));
    has_mtp |= last.num_mtp > 0;
    num_layers += last.count;
    num_mtp += last.num_mtp;
  }
  if (num_layers != split.num_layers)
    refuse(split, fmt::format("it has {} layers (t), num_layers is {}", num_layers, split.num_layers));
  if (num_mtp != split.num_mtp_layers)
    refuse(split, fmt::format("it has {} multi-token prediction layers (m), the model has {}", num_mtp,
                              split.num_mtp_layers));
  return stages;
}

}  // namespace

std::vector<StageLayers> split_layers(const LayerSplit& split) {
  if (split.num_stages < 1 || split.num_layers < 1)
    throw UsageError(fmt::format("a pipeline takes at least one stage and one layer, not {} and {}",
                                 split.num_stages, split.num_layers));
  if (split.embedding_weight < 0 || split.loss_weight < 0)
    throw UsageError(
        fmt::format("weights of embedding and loss in the pipeline split are 0 or more, not {} and {}",
                    split.embedding_weight, split.loss_weight));
  std::vector<StageLayers> stages = split.layout.empty() ? split_evenly(split) : split_by_layout(split);
  int64_t first = 0;
  for (StageLayers& stage : stages) {
    stage.first = first;
    first += stage.count;
  }
  return stages;
}

}  // namespace megalith
