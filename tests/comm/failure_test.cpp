// One rank fails, the ranks disagree, one is missing: every rank comes back and says why.
#include <functional>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/comm/run_ranks.h"

#include "tests/comm/random_operation.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// What run_ranks threw, and what the operation threw in each rank ("" for ranks that got through).
struct Outcome {
  std::string error;
  std::vector<std::string> of_rank;
};

template <class Body>
Outcome outcome_of(const RankOptions& options, const Body& body) {
  Outcome outcome{.of_rank = std::vector<std::string>(static_cast<size_t>(options.num_ranks))};
  try {
    run_ranks(options, [&](Communicator& comm) {
      try {
        body(comm);
      } catch (const std::exception& error) {
        outcome.of_rank[comm.rank()] = error.what();
        throw;
      }
    });
  } catch (const std::exception& error) {
    outcome.error = error.what();
  }
  return outcome;
}

template <class Body>
Outcome outcome_of(int num_ranks, const Body& body) {
  return outcome_of(RankOptions{.num_ranks = num_ranks}, body);
}

TEST(Failure, AThrowInOneRankReachesWaitingPeersInEveryCollective) {
  using Operation = void (*)(Communicator&, const Tensor&, const Tensor&);
  const std::pair<const char*, Operation> operations[] = {
      {"all_reduce sum f32[6000] 'x'",
       [](Communicator& c, const Tensor& whole, const Tensor&) { c.all_reduce(whole, ReduceOp::kSum, "x"); }},
      {"all_gather f32[2000] 'x'",
       [](Communicator& c, const Tensor& whole, const Tensor& block) { c.all_gather(block, whole, "x"); }},
      {"reduce_scatter max f32[2000] per rank",
       [](Communicator& c, const Tensor& whole, const Tensor& block) {
         c.reduce_scatter(whole, block, ReduceOp::kMax);
       }},
      {"broadcast f32[6000] from rank 0",
       [](Communicator& c, const Tensor& whole, const Tensor&) { c.broadcast(whole, 0); }},
      {"gather f32[2000] to rank 0",
       [](Communicator& c, const Tensor& whole, const Tensor& block) { c.gather(block, whole, 0); }},
      {"scatter f32[2000] per rank from rank 0",
       [](Communicator& c, const Tensor& whole, const Tensor& block) { c.scatter(whole, block, 0); }},
      {"recv f32[6000] from rank 1",
       [](Communicator& c, const Tensor& whole, const Tensor&) { c.recv(whole, 1); }},
      {"barrier", [](Communicator& c, const Tensor&, const Tensor&) { c.barrier(); }},
      {"split", [](Communicator& c, const Tensor&, const Tensor&) { c.split({}); }},
  };
  for (const auto& [text, operation] : operations) {
    const Outcome outcome = outcome_of(3, [&](Communicator& comm) {
      RankTensors tensors;
      const Tensor whole = tensors.filled<float>(6000, 1);
      const Tensor block = tensors.filled<float>(2000, 1);
      comm.barrier();
      if (comm.rank() == 1) throw std::out_of_range("shard 5 is missing");
      operation(comm, whole, block);
    });
    EXPECT_EQ(outcome.error, "shard 5 is missing");
    for (const int rank : {0, 2}) {
      EXPECT_THAT(outcome.of_rank[rank],
                  AllOf(HasSubstr(fmt::format("rank {}: {} (operation ", rank, text)),
                        HasSubstr("of 'world') was cut short because rank 1 failed: shard 5 is missing")));
    }
  }
}

TEST(Failure, TheFirstErrorKeepsItsType) {
  EXPECT_THROW(run_ranks(4,
                         [](Communicator& comm) {
                           if (comm.rank() == 3) throw UsageError("no such key");
                           comm.barrier();
                         }),
               UsageError);
  EXPECT_THROW(run_ranks(2,
                         [](Communicator& comm) {
                           if (comm.rank() == 0) throw 42;
                           comm.barrier();
                         }),
               int);
}

TEST(Failure, ReachesNestedGroups) {
  const Outcome outcome = outcome_of(8, [](Communicator& world) {
    const auto half = world.split({.colour = world.rank() / 4, .name = "half"});
    const auto pair = half->split({.colour = half->rank() / 2, .name = "pair"});
    world.barrier();  // else the failure may find a rank in its split
    if (world.rank() == 7) fail("out of memory");
    RankTensors tensors;
    const Tensor x = tensors.filled<float>(5000, 1);
    while (true) pair->all_reduce(x, ReduceOp::kAvg, "grads");
  });
  EXPECT_EQ(outcome.error, "out of memory");
  for (int rank = 0; rank < 7; ++rank)
    EXPECT_THAT(outcome.of_rank[rank],
                AllOf(HasSubstr("all_reduce avg f32[5000] 'grads'"), HasSubstr("of 'pair'"),
                      HasSubstr("because rank 7 failed: out of memory")));
}

TEST(Failure, AbortStopsPeersAndTheCaller) {
  const Outcome outcome = outcome_of(3, [](Communicator& comm) {
    if (comm.rank() == 2) {
      comm.abort("loss is NaN");
      comm.abort("a later reason");
    }
    comm.barrier();
  });
  EXPECT_EQ(outcome.error, "rank 2 aborted: loss is NaN");
  for (const auto& text : outcome.of_rank)
    EXPECT_THAT(
        text, HasSubstr("barrier (operation 1 of 'world') was cut short because rank 2 failed: loss is NaN"));
}

TEST(Failure, DifferentOperationsAreNamed) {
  const Outcome outcome = outcome_of(3, [](Communicator& comm) {
    RankTensors tensors;
    comm.barrier();
    if (comm.rank() == 1)
      comm.all_gather(tensors.filled<float>(16, 1), tensors.filled<float>(48, 1));
    else
      comm.all_reduce(tensors.filled<float>(1024, 1), ReduceOp::kSum, "grads");
  });
  EXPECT_EQ(
      outcome.error,
      "the ranks of 'world' disagree about operation 2: ranks 0, 2 call all_reduce sum f32[1024] 'grads', "
      "rank 1 calls all_gather f32[16]");
  for (const auto& text : outcome.of_rank) EXPECT_THAT(text, HasSubstr("disagree about operation 2"));
}

TEST(Failure, DifferentSizesDtypesOpsRootsAndLabelsAreErrors) {
  const std::function<void(Communicator&, RankTensors&)> cases[] = {
      [](Communicator& c, RankTensors& t) { c.all_reduce(t.filled<float>(c.rank() + 5, 1)); },
      [](Communicator& c, RankTensors& t) { c.all_reduce(t.filled<float>(c.rank() * 9000, 1)); },
      [](Communicator& c, RankTensors& t) {
        c.rank() == 0 ? c.all_reduce(t.filled<float>(8, 1)) : c.all_reduce(t.filled<bf16>(8, 1));
      },
      [](Communicator& c, RankTensors& t) {
        c.all_reduce(t.filled<float>(8, 1), c.rank() == 0 ? ReduceOp::kSum : ReduceOp::kMax);
      },
      [](Communicator& c, RankTensors& t) { c.broadcast(t.filled<float>(8, 1), c.rank()); },
      [](Communicator& c, RankTensors& t) {
        c.all_reduce(t.filled<float>(8, 1), ReduceOp::kSum, c.rank() == 0 ? "weight" : "bias");
      },
  };
  int number = 0;
  for (const auto& body : cases) {
    const Outcome outcome = outcome_of(2, [&](Communicator& comm) {
      RankTensors tensors;
      body(comm, tensors);
    });
    EXPECT_THAT(outcome.error, HasSubstr("the ranks of 'world' disagree about operation 1: rank 0 calls"))
        << "case " << number;
    ++number;
  }
}

TEST(Failure, DifferentRowCountsAreNamed) {
  const Outcome outcome = outcome_of(2, [](Communicator& comm) {
    RankTensors tensors;
    const std::vector<int64_t> rows = {1, comm.rank() == 0 ? 3 : 1};
    const int64_t total = rows[0] + rows[1];
    const Tensor in = tensors.filled<float>(total * 4, 1).view({total, 4});
    const Tensor out = tensors.filled<float>(8, 1).view({2, 4});
    comm.all_to_all_v(in, rows, out, std::vector<int64_t>{1, 1});
  });
  EXPECT_THAT(outcome.error, HasSubstr("rank 0 sends 3 rows to rank 1, which expects 1"));
}

TEST(Failure, WaitingForARankThatHasFinished) {
  const Outcome outcome = outcome_of(3, [](Communicator& comm) {
    comm.barrier();
    if (comm.rank() != 1) comm.barrier("end of step");
  });
  EXPECT_THAT(outcome.error,
              HasSubstr("barrier 'end of step' (operation 2 of 'world') waits for rank 1, which "
                        "has finished without it"));
}

TEST(Failure, TimeOutShowsWhoIsMissingAndTheFlightRecord) {
  const RankOptions options{.num_ranks = 3, .timeout = std::chrono::milliseconds(100)};
  const Outcome outcome = outcome_of(options, [&](Communicator& comm) {
    RankTensors tensors;
    const auto pair = comm.split({.colour = comm.rank() == 0 ? SplitOptions::kNoColour : 0, .name = "pair"});
    comm.all_reduce(tensors.filled<float>(4, 1), ReduceOp::kSum, "loss");
    if (comm.rank() == 0) comm.barrier();
    if (comm.rank() == 1) pair->broadcast(tensors.filled<bf16>(6, 1), 0, "weights");
    if (comm.rank() == 2) comm.recv(tensors.filled<float>(4, 1), 1, "activations");
  });
  EXPECT_THAT(outcome.error, HasSubstr("has waited"));
  EXPECT_THAT(outcome.error, HasSubstr("for rank"));
  EXPECT_THAT(outcome.error, HasSubstr("rank 0: 3 of 'world' barrier (waiting for "));
  EXPECT_THAT(outcome.error,
              HasSubstr("rank 1: 1 of 'pair' broadcast bf16[6] from rank 0 'weights' (waiting for "));
  EXPECT_THAT(outcome.error,
              HasSubstr("rank 2: 1 of 'world' recv f32[4] from rank 1 'activations' (waiting for "));
  EXPECT_THAT(outcome.error, HasSubstr("; 2 of 'world' all_reduce sum f32[4] 'loss'; 1 of 'world' split"));
}

TEST(Failure, ASlowRankWithinTheTimeIsWaitedFor) {
  const RankOptions options{.num_ranks = 2, .timeout = std::chrono::seconds(60)};
  run_ranks(options, [](Communicator& comm) {
    RankTensors tensors;
    if (comm.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const Tensor x = tensors.filled<double>(3, 2);
    comm.all_reduce(x);
    EXPECT_EQ(x.data<double>()[2], 4.0);
    if (comm.rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (comm.rank() == 0) comm.send(x, 1);
    if (comm.rank() == 1) comm.recv(x, 0);
  });
}

TEST(Failure, AReceiverNamesWhatDoesNotMatch) {
  try {
    run_ranks(2, [](Communicator& comm) {
      RankTensors tensors;
      const Tensor x = tensors.filled<float>(8 + comm.rank(), 1);
      if (comm.rank() == 0) comm.send(x, 1, "activations");
      if (comm.rank() == 1) comm.recv(x, 0, "activations");
    });
    FAIL() << "not noticed";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("rank 1: recv f32[9] from rank 0 'activations'"));
    EXPECT_THAT(error.what(),
                testing::HasSubstr("does not match rank 0: send f32[8] to rank 1 'activations'"));
  }
}

TEST(Failure, WrongArgumentsAreNamed) {
  using Case = std::pair<const char*, std::function<void(Communicator&, RankTensors&)>>;
  const Case cases[] = {
      {"all_gather: out has 9 elements; 2 ranks with blocks of 4 need 8",
       [](Communicator& c, RankTensors& t) { c.all_gather(t.filled<float>(4, 1), t.filled<float>(9, 1)); }},
      {"reduce_scatter: in and out have dtypes f32 and f64",
       [](Communicator& c, RankTensors& t) {
         c.reduce_scatter(t.filled<float>(8, 1), t.filled<double>(4, 1));
       }},
      {"all_gather: in and out overlap; only block",
       [](Communicator& c, RankTensors& t) {
         const Tensor out = t.filled<float>(8, 1);
         c.all_gather(out.slice(0, 2, 6), out);
       }},
      {"broadcast: root is 2, the group 'world' has ranks 0 to 1",
       [](Communicator& c, RankTensors& t) { c.broadcast(t.filled<float>(8, 1), 2); }},
      {"all_reduce: avg needs a floating dtype, not i32",
       [](Communicator& c, RankTensors& t) { c.all_reduce(t.filled<int32_t>(8, 1), ReduceOp::kAvg); }},
      {"all_reduce: dtype u8 cannot be reduced",
       [](Communicator& c, RankTensors& t) { c.all_reduce(t.make<uint8_t>({1})); }},
      {"all_reduce: x of shape [4, 2] is not contiguous",
       [](Communicator& c, RankTensors& t) {
         c.all_reduce(t.filled<float>(8, 1).view({2, 4}).transpose(0, 1));
       }},
      {"all_reduce: x is an undefined tensor", [](Communicator& c, RankTensors&) { c.all_reduce(Tensor()); }},
      {"all_to_all: 7 elements do not divide into 2 equal blocks",
       [](Communicator& c, RankTensors& t) { c.all_to_all(t.filled<float>(7, 1), t.filled<float>(7, 1)); }},
      {"cannot send to itself",
       [](Communicator& c, RankTensors& t) { c.send(t.filled<float>(7, 1), c.rank()); }},
      {"split: colour is -2; allowed: 0 and up, or kNoColour",
       [](Communicator& c, RankTensors&) { c.split({.colour = -2}); }},
  };
  for (const auto& [message, body] : cases) {
    const Outcome outcome = outcome_of(2, [&, work = body](Communicator& comm) {
      RankTensors tensors;
      work(comm, tensors);
    });
    EXPECT_THAT(outcome.error, HasSubstr(message));
  }
  EXPECT_THROW(run_ranks(0, [](Communicator&) {}), Error);
}

TEST(Failure, AtAnyMomentEndsAllRanks) {
  // The tensors of a failing rank are freed while its peers may be in the middle of the operation.
  for (unsigned seed = 0; seed < 100; ++seed) {
    const int num_ranks = 2 + static_cast<int>(seed % 7);
    try {
      run_ranks(num_ranks, [&](Communicator& world) {
        std::mt19937 own(seed * 100 + static_cast<unsigned>(world.rank()));
        std::mt19937 shared(seed);
        const auto pair = world.split({.colour = world.rank() / 2});
        const bool fails = world.rank() == static_cast<int>(seed) % num_ranks;
        const int last = fails ? static_cast<int>(own() % 20) : 1000000;
        for (int i = 0; i <= last; ++i) {
          RankTensors tensors;
          ASSERT_TRUE(random_operation_is_right(seed % 3 == 0 ? *pair : world, tensors, shared));
        }
        fail("rank {} gives up", world.rank());
      });
      FAIL() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()), fmt::format("rank {} gives up", seed % num_ranks));
    }
  }
}

}  // namespace
}  // namespace megalith
