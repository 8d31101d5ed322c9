#pragma once
// defines: RunFolder, small_documents, small_run, train_run, train_on_ranks

#include <filesystem>

#include <gtest/gtest.h>

#include "megalith/base/files.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/core/rng.h"
#include "megalith/data/indexed_dataset_builder.h"
#include "megalith/train/trainer.h"

namespace megalith::testing {

/// A folder that goes away with its object.
class RunFolder {
 public:
  RunFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "megalith_train_XXXXXX").string();
    MG_CHECK(mkdtemp(name.data()) != nullptr, "no temporary folder");
    path_ = name;
  }
  ~RunFolder() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// 64 documents of 1 to 4095 counting tokens below 95, ended by 95, as mock data are but for their number:
/// the indices of mock data take longer to make than the steps of a test.
inline std::string small_documents() {
  static const RunFolder folder;
  static const std::string prefix = [] {
    const std::string path = folder / "documents";
    IndexedDatasetBuilder builder(path, TokenType::kU16);
    for (uint64_t document = 0; document < 64; ++document) {
      std::vector<int32_t> tokens(1 + RngKey{3, 1}.bits(document) % 4095, 95);
      for (size_t i = 0; i + 1 < tokens.size(); ++i) tokens[i] = static_cast<int32_t>((i + 1) % 95);
      builder.add_document(tokens);
    }
    builder.finish();
    return path;
  }();
  return prefix;
}

/// A run of some steps of a small model on small_documents().
inline RunConfig small_run(int64_t train_iters) {
  RunConfig c;
  c.model.num_layers = 2;
  c.model.hidden_size = 32;
  c.model.num_attention_heads = 4;
  c.model.ffn_hidden_size = 48;
  c.model.vocab_size = 96;
  c.model.make_vocab_size_divisible_by = 16;
  c.model.max_position_embeddings = 24;
  c.model.hidden_dropout = c.model.attention_dropout = 0.1;
  c.data.data_path = {small_documents()};
  c.data.split = "90,10,0";
  c.data.seq_length = 24;
  c.data.reset_attention_mask = c.data.reset_position_ids = c.data.eod_mask_loss = true;
  c.optim.lr = 3e-3;
  c.optim.lr_decay_style = "cosine";
  c.optim.lr_decay_iters = 12;
  c.optim.lr_warmup_iters = 2;
  c.train.train_iters = train_iters;
  c.train.micro_batch_size = 2;
  c.train.global_batch_size = 4;
  c.train.eval_interval = 3;
  c.train.eval_iters = 1;
  return c;
}

inline TrainSummary train_run(const RunConfig& config) {
  StopSignal stop;
  Exec exec({.num_threads = 2, .seed = static_cast<uint64_t>(config.data.seed)});
  const Vocabulary vocabulary{.size = config.model.vocab_size, .eod = 95};
  const Mesh mesh;
  return Trainer(config, vocabulary, "model: {}\n", mesh, exec).run(stop);
}

/// The summary of rank 0 of a run on CPU rank threads.
inline TrainSummary train_on_ranks(const RunConfig& config, int num_ranks) {
  TrainSummary result;
  run_ranks(num_ranks, [&](Communicator& world) {
    StopSignal stop;
    Exec exec({.num_threads = 1, .seed = 5});
    const Mesh mesh(world, config.parallel);
    const Vocabulary vocabulary{.size = config.model.vocab_size, .eod = 95};
    const TrainSummary summary = Trainer(config, vocabulary, "model: {}\n", mesh, exec).run(stop);
    if (world.rank() == 0) result = summary;
  });
  return result;
}

}  // namespace megalith::testing
