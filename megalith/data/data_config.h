#pragma once
// defines: DataConfig, declare_fields, validate

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace megalith {

class FieldList;

/// Section `data` of a recipe, with Megatron's names.
struct DataConfig {
  std::vector<std::string> data_path;        ///< prefixes, or weight prefix weight prefix ...
  std::vector<std::string> train_data_path;  ///< instead of data_path and split
  std::vector<std::string> valid_data_path;
  std::vector<std::string> test_data_path;
  std::string split = "969,30,1";
  std::optional<std::string> data_cache_path;
  bool mock_data = false;
  int64_t seq_length = 1024;
  int64_t seed = 1234;
  bool eod_mask_loss = false;
  bool reset_position_ids = false;
  bool reset_attention_mask = false;
  int64_t num_prefetch = 2;  ///< micro-batches made ahead
};

void declare_fields(DataConfig& config, FieldList& fields);

/// Throws UsageError for what cannot be together, naming the keys.
void validate(const DataConfig& config);

}  // namespace megalith
