#pragma once
// defines: router_buffers

#include <vector>

#include "megalith/checkpoint/save.h"
#include "megalith/models/language_model.h"

namespace megalith {

/// What routers keep beside their weights and a checkpoint keeps with the model: expert biases, by Megatron's
/// name ("decoder.layers.3.mlp.router.expert_bias", [E] f32).
inline std::vector<NamedTensor> router_buffers(const std::vector<RouterView>& routers) {
  std::vector<NamedTensor> buffers;
  for (const RouterView& router : routers)
    if (router.state->expert_bias.defined())
      buffers.push_back({router.name + ".expert_bias", router.state->expert_bias});
  return buffers;
}

}  // namespace megalith
