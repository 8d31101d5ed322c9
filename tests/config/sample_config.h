#pragma once
// defines: SampleModel, SampleData, SampleCommand, Sample

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "megalith/base/error.h"
#include "megalith/config/options.h"

namespace megalith::testing {

struct SampleModel {
  int64_t hidden_size = 64;
  int64_t num_attention_heads = 4;
  std::optional<int64_t> ffn_hidden_size;
  bool add_bias_linear = true;
  bool swiglu = false;
  std::string normalization = "LayerNorm";
};
inline void declare_fields(SampleModel& c, FieldList& f) {
  f.add("hidden_size", c.hidden_size, {.help = "width of the model", .min = 1, .main = true});
  f.add("num_attention_heads", c.num_attention_heads, {.help = "heads", .min = 1, .max = 1024});
  f.add("ffn_hidden_size", c.ffn_hidden_size, {.help = "width of the MLP", .min = 1});
  f.add("add_bias_linear", c.add_bias_linear,
        {.help = "biases", .aliases = {{.name = "disable_bias_linear", .value = "false"}}});
  f.add("swiglu", c.swiglu, {.help = "gated MLP", .main = true});
  f.add("normalization", c.normalization, {.help = "kind of norm", .allowed = {"LayerNorm", "RMSNorm"}});
}
inline void validate(const SampleModel& c) {
  if (c.hidden_size % c.num_attention_heads != 0) {
    throw UsageError(fmt::format("num_attention_heads ({}) must divide hidden_size ({})",
                                 c.num_attention_heads, c.hidden_size));
  }
}

struct SampleData {
  std::vector<std::string> data_path;
  std::string split = "969, 30, 1";
  double lr = 3e-4;
  double adam_beta1 = 0.9;
  std::vector<double> betas = {0.9, 0.95};
  std::optional<std::string> cache;
  std::optional<std::vector<int64_t>> sizes;
};
inline void declare_fields(SampleData& c, FieldList& f) {
  f.add("data_path", c.data_path, {.help = "prefixes", .main = true});
  f.add("split", c.split, {.help = "train, valid, test"});
  f.add("lr", c.lr, {.help = "peak rate", .above = 0, .aliases = {{.name = "learning_rate"}}});
  f.add("adam_beta1", c.adam_beta1, {.help = "decay", .min = 0, .below = 1});
  f.add("betas", c.betas, {.help = "two of them", .min = 0});
  f.add("cache", c.cache, {.help = "where | how"});
  f.add("sizes", c.sizes, {.help = "sizes"});
}

struct SampleCommand {
  std::string recipe;
  std::vector<std::string> rest;
  std::string output;
};
inline void declare_fields(SampleCommand& c, FieldList& f) {
  f.add("recipe", c.recipe, {.help = "YAML file", .positional = true, .required = true});
  f.add("rest", c.rest, {.help = "more", .positional = true});
  f.add("output", c.output, {.help = "where to", .value_name = "FILE"});
}

/// The three structs and the options made from them.
struct Sample {
  SampleCommand command;
  SampleModel model;
  SampleData data;
  Options options;
  Sample() {
    options.add({.name = "command", .title = "Command", .use = SectionUse::kCommandLine}, command);
    options.add({.name = "model", .title = "Model"}, model);
    options.add({.name = "data", .title = "Data"}, data);
  }
  Sample(const Sample&) = delete;
};

/// What the UsageError thrown by `action` says; "" when it throws none.
template <class Action>
std::string usage_error(const Action& action) {
  try {
    action();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

}  // namespace megalith::testing
