#pragma once
// defines: HfLayout, HfTensor, hf_tensors

#include <cstdint>
#include <string>
#include <vector>

#include "megalith/models/gpt/gpt_config.h"

namespace megalith {

enum class HfLayout {
  kSame,
  kTransposed,  ///< GPT-2 keeps the weights of linear layers as [in, out]
};

/// One tensor of a Hugging Face model and the rows of our parameter that hold it.
///
/// linear_qkv has rows [Q of all heads | K of all groups | V of all groups], linear_fc1 of a gated MLP [gate
/// | up]. RoPE turns the halves of a head in both, so no row moves. Rows of padding in the vocabulary belong
/// to no tensor.
struct HfTensor {
  std::string name;
  std::string parameter;
  int64_t row_begin = 0;
  int64_t row_end = 0;
  HfLayout layout = HfLayout::kSame;
};

/// All of them, in the order of the layers. Throws Error when Hugging Face has no such model.
std::vector<HfTensor> hf_tensors(const GptConfig& config);

}  // namespace megalith
