#include <algorithm>
#include <cmath>

#include "megalith/io/npy.h"
#include "megalith/models/gpt/hf_names.h"
#include "megalith/models/gpt/hf_weights.h"
#include "megalith/models/positions.h"

#include "tests/models/hf_fixture.h"

namespace megalith {
namespace {

/// Of a tensor as a whole, in f32 on both sides.
constexpr double kTolerance = 1e-4;

class HfParityTest : public HfDirectoryTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    HfDirectoryTest::SetUp();
    golden_ = load_hf_golden(GetParam());
    const std::filesystem::path directory = make_directory(golden_);
    model_ = std::make_unique<GptModel>(read_hf_config(directory), exec_);
    read_hf_weights(directory, *model_, exec_);
    batch_ = golden_.report.at("batch");
    seq_ = golden_.report.at("seq");
    for (const uint64_t word : hf_random_words("tokens", batch_ * seq_)) {
      ids_.push_back(static_cast<int32_t>(word % static_cast<uint64_t>(model_->vocab_size())));
    }
  }

  ForwardContext context() { return {.batch = batch_, .positions = sequence_positions(batch_, seq_, exec_)}; }
  Tensor ids() { return exec_.from_host(std::span<const int32_t>(ids_), {batch_ * seq_}); }

  Exec exec_;
  HfGolden golden_;
  std::unique_ptr<GptModel> model_;
  int64_t batch_ = 0, seq_ = 0;
  std::vector<int32_t> ids_;
};

TEST_P(HfParityTest, LogitsAgreeWithTransformers) {
  Tape tape(exec_, {.is_recording = false, .recompute = {}});
  const Tensor logits = model_->logits(tape, context(), ids());
  const std::vector<double> ours = to_vector<double>(logits);
  double square = 0;
  for (const double value : ours) square += value * value;
  const double norm = golden_.report.at("logits_norm");
  EXPECT_NEAR(std::sqrt(square), norm, kTolerance * norm);

  const NpyArray theirs = read_npy(golden_.directory / "logits.npy");  // [B, S, every STRIDE-th of V]
  const int64_t stride = golden_.report.at("logits_stride");
  const int64_t columns = theirs.shape().at(2), vocab = logits.dim(1);
  ASSERT_EQ(theirs.shape().at(0) * theirs.shape().at(1), logits.dim(0));
  double difference = 0, reference = 0;
  for (int64_t row = 0; row < logits.dim(0); ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      const double wanted = theirs.values<float>()[static_cast<size_t>(row * columns + column)];
      const double got = ours[static_cast<size_t>(row * vocab + column * stride)];
      difference += (got - wanted) * (got - wanted);
      reference += wanted * wanted;
      EXPECT_NEAR(got, wanted, kTolerance * std::max(1.0, std::abs(wanted)))
          << "row " << row << " column " << column;
    }
  }
  EXPECT_LT(std::sqrt(difference / reference), kTolerance);
}

TEST_P(HfParityTest, LossAndGradientsAgreeWithTransformers) {
  std::vector<int32_t> labels;  // the next token; the last of a sequence has none
  for (size_t i = 0; i < ids_.size(); ++i) {
    labels.push_back((static_cast<int64_t>(i) + 1) % seq_ == 0 ? -1 : ids_[i + 1]);
  }
  const std::vector<float> weights(ids_.size(), 1.0f / static_cast<float>(batch_ * (seq_ - 1)));
  const TokenBatch batch{.ids = ids(),
                         .labels = exec_.from_host(std::span<const int32_t>(labels), {batch_ * seq_}),
                         .loss_weights = exec_.from_host(std::span<const float>(weights), {batch_ * seq_})};
  model_->parameters().allocate_gradients(exec_);
  model_->parameters().mark_gradients_fresh();
  Tape tape(exec_);
  const Var loss = model_->loss(tape, context(), batch);
  const double wanted_loss = golden_.report.at("loss");
  EXPECT_NEAR(to_vector<double>(loss.data)[0], wanted_loss, kTolerance * wanted_loss);
  const std::vector<float> one{1};
  tape.backward(loss, exec_.from_host(std::span<const float>(one), {1}));
  model_->parameters().finish_gradients(exec_);

  size_t compared = 0;
  for (const HfTensor& tensor : hf_tensors(model_->config())) {
    const Tensor rows =
        model_->parameters().find(tensor.parameter).main_grad.slice(0, tensor.row_begin, tensor.row_end);
    const bool is_same = tensor.layout == HfLayout::kSame;
    const std::vector<double> gradient = to_vector<double>(is_same ? rows : rows.transpose(0, 1));
    double square = 0;
    for (const double value : gradient) square += value * value;
    const double norm = golden_.report.at("gradient_norms").at(tensor.name);
    EXPECT_NEAR(std::sqrt(square), norm, kTolerance * norm) << tensor.name;
    const double typical = norm / std::sqrt(static_cast<double>(gradient.size()));
    for (const auto& item : golden_.report.at("gradient_entries").at(tensor.name).items()) {
      const double wanted = item.value();
      EXPECT_NEAR(gradient.at(std::stoul(item.key())), wanted,
                  kTolerance * std::max(typical, std::abs(wanted)))
          << tensor.name << " [" << item.key() << "]";
    }
    ++compared;
  }
  EXPECT_EQ(compared, golden_.tensors.size()) << "every weight of the Hugging Face model";
}

INSTANTIATE_TEST_SUITE_P(Models, HfParityTest, testing::ValuesIn(kHfModels),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace megalith
