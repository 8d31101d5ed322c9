// Generation with the KV cache equals the forward without it, alone and in a batch of unequal prompts.

#include "megalith/infer/generate.h"

#include <gtest/gtest.h>

#include "megalith/models/gpt/gpt_model.h"

#include "tests/infer/letters.h"

namespace megalith {
namespace {

using testing::Letters;

struct Case {
  const char* name;
  const char* positions;
  int64_t groups;
  const char* softmax = "vanilla";
};

class Generate : public ::testing::TestWithParam<Case> {
 protected:
  Generate() : model_(config(), exec_) { model_.parameters().initialize(exec_); }
  static GptConfig config() {
    GptConfig c;
    c.num_layers = 3;
    c.hidden_size = 32;
    c.num_attention_heads = 4;
    c.num_query_groups = GetParam().groups;
    c.vocab_size = 26;
    c.make_vocab_size_divisible_by = 16;
    c.max_position_embeddings = 48;
    c.position_embedding_type = GetParam().positions;
    c.softmax_type = GetParam().softmax;
    c.init_method_std = 0.4;  // far from uniform, so that the largest logit is clear
    return c;
  }
  std::vector<Generation> run(const std::vector<std::string>& prompts, const GenerateOptions& options) {
    std::vector<std::vector<int32_t>> tokens;
    for (const std::string& prompt : prompts) tokens.push_back(letters_.encode(prompt));
    return generate(model_, letters_, tokens, options, exec_);
  }

  Exec exec_{{.num_threads = 2}};
  GptModel model_;
  Letters letters_;
};

TEST_P(Generate, GreedyWithCacheEqualsTheForwardWithout) {
  GenerateOptions options{.max_new_tokens = 30, .sampling = {.temperature = 0}};
  const std::string cached = run({"hello"}, options)[0].text;
  options.use_cache = false;
  EXPECT_EQ(run({"hello"}, options)[0].text, cached);
  EXPECT_EQ(cached.size(), 30u);
}

TEST_P(Generate, BatchOfUnequalPromptsEqualsEachAlone) {
  const GenerateOptions options{.max_new_tokens = 20, .sampling = {.temperature = 0}};
  const std::vector<std::string> prompts = {"a", "thequickbrownfox", "hello"};
  const auto batch = run(prompts, options);
  for (size_t i = 0; i < prompts.size(); ++i)
    EXPECT_EQ(batch[i].text, run({prompts[i]}, options)[0].text) << prompts[i];
}

TEST_P(Generate, SeedsRepeatAndDiffer) {
  GenerateOptions options{.max_new_tokens = 20, .sampling = {.temperature = 1.5, .top_k = 20}, .seed = 5};
  const std::string first = run({"abc"}, options)[0].text;
  EXPECT_EQ(run({"abc"}, options)[0].text, first);
  options.seed = 6;
  EXPECT_NE(run({"abc"}, options)[0].text, first);
}

TEST_P(Generate, StopsAtAStringAndStreamsWhatItReturns) {
  GenerateOptions options{.max_new_tokens = 30, .sampling = {.temperature = 0}};
  const std::string whole = run({"hello"}, options)[0].text;
  options.stop_strings = {whole.substr(10, 3)};
  std::string streamed;
  options.on_text = [&](size_t, const std::string& text) { streamed += text; };
  const Generation got = run({"hello"}, options)[0];
  EXPECT_STREQ(got.finish_reason, "stop");
  EXPECT_EQ(got.text, whole.substr(0, whole.find(options.stop_strings[0])));
  EXPECT_EQ(streamed, got.text);
}

TEST_P(Generate, EndsAtTheEndOfADocument) {
  GenerateOptions options{.max_new_tokens = 30, .sampling = {.temperature = 0}};
  const std::string whole = run({"hello"}, options)[0].text;
  letters_.eod_ = whole[7] - 'a';
  const Generation got = run({"hello"}, options)[0];
  EXPECT_STREQ(got.finish_reason, "eod");
  EXPECT_EQ(got.text, whole.substr(0, whole.find(whole[7])));
}

TEST_P(Generate, RefusesWhatDoesNotFit) {
  EXPECT_THROW(run({"hello"}, {.max_new_tokens = 44}), Error);
  EXPECT_THROW(run({""}, {.max_new_tokens = 4}), Error);
}

INSTANTIATE_TEST_SUITE_P(Models, Generate,
                         ::testing::Values(Case{"Rope", "rope", 2}, Case{"Learned", "learned_absolute", 4},
                                           Case{"Sinks", "rope", 2, "learnable"},
                                           Case{"OffByOne", "rope", 4, "off-by-one"}),
                         [](const auto& instance) { return std::string(instance.param.name); });

}  // namespace
}  // namespace megalith
