// From text to a model that writes text, through the commands a user types; and what each says to wrong
// input.

#include <algorithm>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/text.h"
#include "megalith/cli/cli.h"

namespace megalith {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
namespace fs = std::filesystem;

struct Outcome {
  int status;
  std::string out;
  std::string err;
};

class TrainCommands : public ::testing::Test {
 protected:
  // One tokenizer and one data set serve all tests of this program.
  static void SetUpTestSuite() {
    std::string name = (fs::temp_directory_path() / "megalith_cli_XXXXXX").string();
    MG_CHECK(mkdtemp(name.data()) != nullptr, "no temporary folder");
    shared_ = new fs::path(name);
    make_directories(*shared_ / "text");
    for (int file = 0; file < 60; ++file) {
      std::string text;
      for (int line = 0; line < 20; ++line)
        text += fmt::format("int value_{} = compute({}, {});\n", line, file, line * file % 7);
      write_text_file(*shared_ / "text" / fmt::format("{:02}.cpp", file), text);
    }
    ASSERT_EQ(run({"tokenizer", "train", at("text"), "--vocab-size", "300", "--output", at("tokenizer.json"),
                   "--quiet"})
                  .status,
              0);
    ASSERT_EQ(run({"preprocess", at("text"), "--tokenizer-model", at("tokenizer.json"), "--append-eod",
                   "--output-prefix", at("data"), "--quiet"})
                  .status,
              0);
    write_text_file(*shared_ / "recipe.yaml",
                    "model:\n  num_layers: 2\n  hidden_size: 32\n  num_attention_heads: 4\n  "
                    "position_embedding_type: rope\n"
                    "  normalization: RMSNorm\n  swiglu: true\n  hidden_dropout: 0\n  attention_dropout: 0\n"
                    "data:\n  seq_length: 32\n  split: 90,10,0\n  data_path: [" +
                        at("data_text_document") +
                        "]\n"
                        "optim:\n  lr: 0.01\n  lr_decay_iters: 40\n"
                        "train:\n  train_iters: 12\n  micro_batch_size: 4\n  eval_interval: 6\n  eval_iters: "
                        "1\n  tokenizer_model: " +
                        at("tokenizer.json") + "\n");
  }
  static void TearDownTestSuite() {
    fs::remove_all(*shared_);
    delete shared_;
  }

  static std::string at(const std::string& name) { return (*shared_ / name).string(); }

  static Outcome run(const std::vector<std::string>& arguments) {
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    Outcome outcome{};
    outcome.status = run_cli(arguments);
    outcome.out = ::testing::internal::GetCapturedStdout();
    outcome.err = ::testing::internal::GetCapturedStderr();
    return outcome;
  }
  static Outcome train(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"train", at("recipe.yaml")});
    return run(arguments);
  }

  static fs::path* shared_;
};

fs::path* TrainCommands::shared_ = nullptr;

TEST_F(TrainCommands, TrainResumePlotGenerate) {
  const std::string folder = at("run");
  const Outcome first = train({"--save", folder, "--save-interval", "6"});
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_THAT(first.out, MatchesRegex("steps 1 to 12: loss [0-9.]+ -> [0-9.]+, held-out loss [0-9.]+ -> "
                                      "[0-9.]+, [0-9]+ tokens/s, metrics "
                                      ".*/run/metrics.jsonl, checkpoint .*/run/iter_0000012\n"));
  const auto num_waits = [&] {
    const std::vector<std::string> rows = split(read_text_file(folder + "/metrics.jsonl"), '\n');
    return std::count_if(rows.begin(), rows.end(), [](const std::string& row) {
      return row.find("\"checkpoint_wait_ms\"") != std::string::npos;
    });
  };
  EXPECT_EQ(num_waits(), 2);
  const Outcome second =
      train({"--save", folder, "--load", folder, "--train-iters", "20", "--async-save", "--quiet"});
  EXPECT_EQ(num_waits(), 3);
  ASSERT_EQ(second.status, 0) << second.err;
  EXPECT_EQ(second.err, "");
  EXPECT_THAT(second.out, HasSubstr("steps 13 to 20"));

  const std::string picture = at("loss.svg");
  const Outcome plot = run({"plot", folder, "--out", picture});
  if (plot.status == 0) {
    EXPECT_THAT(read_text_file(picture), HasSubstr("</svg>"));
  } else {
    EXPECT_THAT(plot.err, HasSubstr("cairo"));  // a build without it says what is missing
  }

  const std::vector<std::string> generate = {
      "generate", "--model", folder, "--prompt", "int value_", "--max-new-tokens", "8", "--temperature", "0"};
  const Outcome text = run(generate);
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_TRUE(text.out.starts_with("int value_"));
  EXPECT_GT(text.out.size(), std::string("int value_\n").size());
  EXPECT_EQ(run(generate).out, text.out);

  const Outcome whole = run({"generate", "--model", folder, "--prompt", "int", "--max-new-tokens", "999"});
  EXPECT_EQ(whole.status, 0) << whole.err;
  EXPECT_THAT(whole.err, HasSubstr("max_new_tokens 999: the model has 32 positions"));
  const Outcome from_nothing = run({"generate", "--model", folder, "--prompt", "", "--max-new-tokens", "4"});
  EXPECT_EQ(from_nothing.status, 0) << from_nothing.err;
  const std::string long_prompt =
      "int a; float b; double c; char d; long e; short f; unsigned g; bool h; void i;";
  const Outcome too_long = run({"generate", "--model", folder, "--prompt", long_prompt});
  EXPECT_EQ(too_long.status, 2);
  EXPECT_EQ(too_long.out, "");
  EXPECT_THAT(too_long.err, HasSubstr("the model has 32 positions"));
}

TEST_F(TrainCommands, ARunIsNotWrittenOver) {
  const std::string folder = at("kept");
  ASSERT_EQ(train({"--save", folder, "--save-interval", "6", "--quiet"}).status, 0);
  const std::string metrics = read_text_file(folder + "/metrics.jsonl");
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, {"--load", at("elsewhere")}, {"--load", folder, "--finetune"}}) {
    std::vector<std::string> arguments{"--save", folder + "/", "--seed", "7"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = train(arguments);
    EXPECT_EQ(outcome.status, 2) << outcome.out;
    EXPECT_THAT(outcome.err, HasSubstr("--load"));
    EXPECT_THAT(outcome.err, HasSubstr("step 12"));
  }
  EXPECT_EQ(read_text_file(folder + "/metrics.jsonl"), metrics);
  // An older checkpoint of the run itself may be gone on from.
  EXPECT_EQ(train({"--save", folder, "--load", folder + "/iter_0000006", "--quiet"}).status, 0);
}

TEST_F(TrainCommands, AChangedRecipeIsTold) {
  const std::string folder = at("changed");
  ASSERT_EQ(train({"--save", folder, "--train-iters", "4", "--quiet"}).status, 0);
  const std::string told = "the recipe has changed since it was saved: ";
  const Outcome same = train({"--load", folder, "--train-iters", "6", "--log-interval", "5"});
  EXPECT_EQ(same.status, 0) << same.err;
  EXPECT_THAT(same.err, Not(HasSubstr(told)));
  const Outcome other = train({"--load", folder, "--train-iters", "6", "--seed", "5", "--lr", "0.02"});
  EXPECT_EQ(other.status, 0) << other.err;
  EXPECT_THAT(other.err, HasSubstr(told + "data.seed 1234 -> 5, optim.lr 0.01 -> 0.02\n"));
}

TEST_F(TrainCommands, AFinishedRunSaysSo) {
  const std::string folder = at("finished");
  ASSERT_EQ(train({"--save", folder, "--quiet"}).status, 0);
  const Outcome again = train({"--save", folder, "--load", folder, "--quiet"});
  EXPECT_EQ(again.status, 0);
  EXPECT_EQ(again.out, "no step was trained: the run stands at step 12, all that train_iters asks for\n");
}

TEST_F(TrainCommands, PrintedConfigReadsBackToItself) {
  const Outcome printed = train({"--print-config", "--lr", "0.02"});
  ASSERT_EQ(printed.status, 0) << printed.err;
  const std::string copy = at("copy.yaml");
  write_text_file(copy, printed.out);
  EXPECT_EQ(run({"train", copy, "--print-config"}).out, printed.out);
  EXPECT_THAT(printed.out, HasSubstr("lr: 0.02"));
}

TEST_F(TrainCommands, MergedDataHasTheDocumentsOfBoth) {
  const std::string data = at("data_text_document"), twice = at("twice_text_document");
  const Outcome merged = run({"data", "merge", data, data, "--output-prefix", twice});
  ASSERT_EQ(merged.status, 0) << merged.err;
  EXPECT_EQ(merged.out, twice + "\n");
  EXPECT_EQ(fs::file_size(twice + ".bin"), 2 * fs::file_size(data + ".bin"));
  EXPECT_THAT(run({"data", "inspect", twice}).out, HasSubstr("120"));
}

TEST_F(TrainCommands, PlanTellsParametersAndMemory) {
  const Outcome plan = run({"plan", at("recipe.yaml")});
  ASSERT_EQ(plan.status, 0) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("parameters"));
  EXPECT_THAT(plan.out, HasSubstr("FLOPs per token"));
  EXPECT_THAT(plan.out, HasSubstr("activations"));
}

// What is wrong, the exit status, and what the message must name.
struct WrongInput {
  const char* name;
  std::vector<std::string> arguments;
  int status;
  std::vector<std::string> named;
};

TEST_F(TrainCommands, WrongInputIsNamed) {
  write_text_file(at("misspelt.yaml"), "model:\n  num_layers: 2\n  hiden_size: 32\n");
  write_text_file(at("wrong_type.yaml"), "model:\n  num_layers: two\n");
  write_text_file(at("broken_text_document.idx"), "MMIDIDX");
  write_text_file(at("broken_text_document.bin"), "");
  const std::string missing = at("absent_text_document"), broken = at("broken_text_document");
  const std::vector<WrongInput> cases = {
      {"misspelt key", {"train", at("misspelt.yaml")}, 2, {"misspelt.yaml:3", "hiden_size", "hidden_size"}},
      {"wrong type", {"train", at("wrong_type.yaml")}, 2, {"wrong_type.yaml:2", "num_layers", "two"}},
      {"misspelt flag",
       {"train", at("recipe.yaml"), "--trian-iters", "3"},
       2,
       {"--trian-iters", "--train-iters"}},
      {"no recipe", {"train", at("nothing.yaml")}, 1, {"nothing.yaml"}},
      {"heads",
       {"train", at("recipe.yaml"), "--num-attention-heads", "5"},
       2,
       {"hidden_size 32", "num_attention_heads 5"}},
      {"batch",
       {"train", at("recipe.yaml"), "--global-batch-size", "6"},
       2,
       {"global_batch_size 6", "micro_batch_size 4"}},
      {"range", {"train", at("recipe.yaml"), "--hidden-dropout", "1.5"}, 2, {"--hidden-dropout", "1.5"}},
      {"vocabulary", {"train", at("recipe.yaml"), "--vocab-size", "100"}, 2, {"vocab_size 100", "300"}},
      {"sequence",
       {"train", at("recipe.yaml"), "--max-position-embeddings", "16"},
       2,
       {"seq_length 32", "max_position_embeddings 16"}},
      {"missing data", {"train", at("recipe.yaml"), "--data-path", missing}, 1, {missing}},
      {"broken data", {"train", at("recipe.yaml"), "--data-path", broken}, 1, {broken + ".idx"}},
      {"unwritable", {"train", at("recipe.yaml"), "--save", "/proc/run"}, 1, {"/proc/run"}},
      {"missing tokenizer", {"train", at("recipe.yaml"), "--tokenizer-model", at("no.json")}, 1, {"no.json"}},
      {"missing model", {"generate", "--model", at("no_run"), "--prompt", "x"}, 1, {"no_run"}},
      {"missing prompt", {"generate", "--model", at("no_run")}, 2, {"--prompt"}},
      {"empty stop", {"generate", "--model", at("no_run"), "--prompt", "x", "--stop", ""}, 2, {"stop"}},
      {"sizes whose products overflow",
       {"train", at("recipe.yaml"), "--hidden-size", "1000000000"},
       2,
       {"--hidden-size", "[1, 1048576]"}},
      {"warm-up",
       {"train", at("recipe.yaml"), "--lr-warmup-iters", "100"},
       2,
       {"lr_warmup_iters", "lr_decay_iters"}},
  };
  for (const WrongInput& wrong : cases) {
    const Outcome outcome = run(wrong.arguments);
    EXPECT_EQ(outcome.status, wrong.status) << wrong.name << ": " << outcome.err;
    EXPECT_EQ(outcome.out, "") << wrong.name;
    EXPECT_TRUE(outcome.err.find("error: ") != std::string::npos) << wrong.name << ": " << outcome.err;
    for (const std::string& part : wrong.named) EXPECT_THAT(outcome.err, HasSubstr(part)) << wrong.name;
  }
}

TEST_F(TrainCommands, TokensBeyondTheVocabularyAreNamed) {
  // Without the tokenizer nothing but the data can tell that the vocabulary is too small.
  std::string recipe = read_text_file(at("recipe.yaml"));
  recipe.resize(recipe.find("  tokenizer_model"));
  write_text_file(at("no_tokenizer.yaml"), recipe);
  const Outcome outcome = run({"train", at("no_tokenizer.yaml"), "--vocab-size", "64"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("0 to 63"));
  EXPECT_THAT(outcome.err, HasSubstr("data_text_document"));
}

TEST_F(TrainCommands, DamagedCheckpointsAreNamedAndTheOlderOffered) {
  const std::string folder = at("damaged");
  ASSERT_EQ(train({"--save", folder, "--save-interval", "6", "--quiet"}).status, 0);
  {
    std::fstream file(folder + "/iter_0000012/model.safetensors",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-5, std::ios::end);
    file.put('\x55');
  }
  const Outcome outcome = train({"--save", folder, "--load", folder, "--train-iters", "14"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("iter_0000012/model.safetensors"));
  EXPECT_THAT(outcome.err, HasSubstr("iter_0000006"));
  EXPECT_TRUE(fs::exists(folder + "/iter_0000006/manifest.json"));

  write_text_file(folder + "/latest_checkpointed_iteration.txt", "");
  const Outcome torn = train({"--save", folder, "--load", folder});
  EXPECT_EQ(torn.status, 1);
  EXPECT_THAT(torn.err, HasSubstr("latest_checkpointed_iteration.txt"));
  EXPECT_THAT(torn.err, HasSubstr("--load " + folder + "/iter_0000012"));
}

TEST_F(TrainCommands, CheckpointsOfAnotherShapeAreNamed) {
  const std::string folder = at("shape");
  ASSERT_EQ(train({"--save", folder, "--quiet"}).status, 0);
  const Outcome outcome = train({"--load", folder, "--hidden-size", "64"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("embedding.word_embeddings.weight"));
  EXPECT_THAT(outcome.err, HasSubstr("64"));
  // Of the same shapes, and yet another model.
  const Outcome heads = train({"--load", folder, "--num-attention-heads", "2", "--train-iters", "13"});
  EXPECT_EQ(heads.status, 1) << heads.out;
  EXPECT_THAT(heads.err, HasSubstr("num_attention_heads is 4 there and 2 in this recipe"));
  const Outcome tuned = train({"--load", folder, "--finetune", "--num-attention-heads", "2"});
  EXPECT_EQ(tuned.status, 1) << tuned.out;
  EXPECT_THAT(tuned.err, HasSubstr("num_attention_heads is 4 there and 2 in this recipe"));
  const Outcome sink = train({"--load", folder, "--softmax-type", "off-by-one", "--train-iters", "13"});
  EXPECT_EQ(sink.status, 1) << sink.out;
  EXPECT_THAT(sink.err, HasSubstr("softmax_type is vanilla there and off-by-one in this recipe"));
  const Outcome longer =
      train({"--load", folder, "--rotary-base", "50000", "--train-iters", "13", "--quiet"});
  EXPECT_EQ(longer.status, 0) << longer.err;
}

}  // namespace
}  // namespace megalith
