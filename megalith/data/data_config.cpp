#include "megalith/data/data_config.h"

#include <limits>

#include "megalith/base/error.h"
#include "megalith/config/field.h"
#include "megalith/data/blend.h"
#include "megalith/data/split.h"

namespace megalith {

void declare_fields(DataConfig& config, FieldList& fields) {
  fields.add("data_path", config.data_path,
             {.help = "data sets (path prefixes of .bin/.idx pairs), or a weight before each",
              .value_name = "[WEIGHT] PREFIX",
              .main = true});
  fields.add(
      "train_data_path", config.train_data_path,
      {.help = "as data_path, for training alone; instead of data_path and split", .value_name = "PREFIX"});
  fields.add("valid_data_path", config.valid_data_path,
             {.help = "as data_path, for validation alone", .value_name = "PREFIX"});
  fields.add("test_data_path", config.test_data_path,
             {.help = "as data_path, for the test alone", .value_name = "PREFIX"});
  fields.add(
      "split", config.split,
      {.help = "shares of training, validation and test, in sequences of each data set", .main = true});
  fields.add("data_cache_path", config.data_cache_path,
             {.help = "directory for the sample indices; by default PREFIX/cache", .value_name = "DIR"});
  fields.add("mock_data", config.mock_data,
             {.help = "train on Megatron's counting sequences instead of data"});
  fields.add("seq_length", config.seq_length,
             {.help = "tokens of a sample", .min = 1, .max = 1 << 30, .main = true});
  fields.add("seed", config.seed,
             {.help = "of the order of samples, the initial weights and dropout",
              .min = 0,
              .max = std::numeric_limits<uint32_t>::max()});
  fields.add("eod_mask_loss", config.eod_mask_loss, {.help = "no loss at end-of-document tokens"});
  fields.add("reset_position_ids", config.reset_position_ids,
             {.help = "positions start at 0 after each end of document"});
  fields.add("reset_attention_mask", config.reset_attention_mask,
             {.help = "attention does not cross the end of a document"});
  fields.add("num_prefetch", config.num_prefetch, {.help = "micro-batches made ahead of the step", .min = 1});
}

void validate(const DataConfig& config) {
  const bool has_own_paths =
      !config.train_data_path.empty() || !config.valid_data_path.empty() || !config.test_data_path.empty();
  if (config.mock_data && (has_own_paths || !config.data_path.empty())) {
    throw UsageError(
        "mock_data: true goes without data_path, train_data_path, valid_data_path and test_data_path");
  }
  if (has_own_paths && !config.data_path.empty()) {
    throw UsageError("data_path goes without train_data_path, valid_data_path and test_data_path");
  }
  for (const auto* paths :
       {&config.data_path, &config.train_data_path, &config.valid_data_path, &config.test_data_path}) {
    if (!paths->empty()) parse_blend(*paths);
  }
  parse_split(config.split);
}

}  // namespace megalith
