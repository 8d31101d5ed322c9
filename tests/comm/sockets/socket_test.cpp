// Ranks through sockets that go wrong, and bytes that are no message.
#include <chrono>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/comm/attendance.h"
#include "megalith/comm/socket_launch.h"
#include "megalith/comm/socket_server.h"
#include "megalith/comm/socket_stream.h"

#include "tests/comm/launch.h"
#include "tests/comm/rank_tensors.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string error_of(int num_ranks, const std::function<void(Communicator&)>& body) {
  try {
    launch(num_ranks, body);
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

TEST(Sockets, AThrowReachesThePeersThatWait) {
  const auto begin = std::chrono::steady_clock::now();
  std::atomic<int> told = 0;
  const std::string message = error_of(3, [&](Communicator& world) {
    const auto group = world.split({.name = "dp"});
    if (world.rank() == 1) fail("disk is full");
    try {
      group->barrier();
    } catch (const PeerFailure& failure) {
      EXPECT_THAT(failure.what(), AllOf(HasSubstr("of 'dp'"), HasSubstr("rank 1 failed: disk is full")));
      EXPECT_TRUE(world.is_aborted());
      ++told;
      throw;
    }
  });
  EXPECT_EQ(message, "disk is full");
  EXPECT_EQ(told, 2);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(15));
}

TEST(Sockets, CallsThatDifferAreNamed) {
  EXPECT_THAT(error_of(2,
                       [](Communicator& world) {
                         RankTensors tensors;
                         world.all_reduce(tensors.values<float>(0, 4 + world.rank()), ReduceOp::kSum, "x");
                       }),
              AllOf(HasSubstr("disagree about operation 2"), HasSubstr("all_reduce sum f32[4] 'x'"),
                    HasSubstr("all_reduce sum f32[5] 'x'")));
  EXPECT_THAT(error_of(2,
                       [](Communicator& world) {
                         RankTensors tensors;
                         if (world.rank() == 0) world.send(tensors.values<float>(0, 4), 1, "a");
                         if (world.rank() == 1) world.recv(tensors.values<float>(0, 5), 0, "a");
                         world.barrier();
                       }),
              HasSubstr("does not match"));
}

TEST(Sockets, ARankThatDoesNotComeIsATimeOut) {
  const int port = SocketListener(0).port();
  std::string message;
  std::thread other([&] {
    try {
      run_socket_ranks({.rank = 1, .size = 2, .address = "127.0.0.1", .port = port}, {},
                       [](Communicator& world) {
                         while (!world.is_aborted())
                           std::this_thread::sleep_for(std::chrono::milliseconds(5));
                       });
    } catch (const PeerFailure&) {
    }
  });
  try {
    run_socket_ranks({.rank = 0, .size = 2, .address = "127.0.0.1", .port = port},
                     {.timeout = std::chrono::milliseconds(500)},
                     [](Communicator& world) { world.barrier("step"); });
  } catch (const std::exception& error) {
    message = error.what();
  }
  other.join();
  EXPECT_THAT(message, AllOf(HasSubstr("rank 0: barrier 'step' (operation 2 of 'world') has waited")));
}

TEST(Sockets, WhoIsMissingIsSaidAfterFiveSecondsAndEveryThirty) {
  using std::chrono::seconds;
  const auto begin = Attendance::Clock::now();
  Attendance attendance(8, begin);
  for (const int rank : {0, 3, 3, 4}) attendance.comes(rank);
  EXPECT_FALSE(attendance.notice(begin + seconds(4)));
  EXPECT_EQ(attendance.notice(begin + seconds(6)), "5 of 8 ranks have not come after 6.0s: 1 and 2, 5 to 7");
  EXPECT_FALSE(attendance.notice(begin + seconds(35)));
  for (const int rank : {1, 6}) attendance.comes(rank);
  EXPECT_EQ(attendance.notice(begin + seconds(36)), "3 of 8 ranks have not come after 36s: 2, 5, 7");
  for (const int rank : {2, 5, 7}) attendance.comes(rank);
  EXPECT_EQ(attendance.notice(begin + seconds(40)), "all 8 ranks are here after 40s");
  EXPECT_FALSE(attendance.notice(begin + seconds(100))) << "once";
  EXPECT_EQ(attendance.missing(), "");
}

TEST(Sockets, NobodyIsMissedWhereAllComeAtOnce) {
  const auto begin = Attendance::Clock::now();
  Attendance attendance(2, begin);
  for (const int rank : {1, 0}) attendance.comes(rank);
  EXPECT_FALSE(attendance.notice(begin + std::chrono::seconds(60)));
}

// Rank 2 of three never comes: the others are told so by the one whose wait ends first.
TEST(Sockets, ATimeOutNamesWhoNeverCame) {
  SocketServer server(0, 3);
  std::string message;
  std::thread other([&] {
    try {
      run_socket_ranks({.rank = 1, .size = 3, .address = "127.0.0.1", .port = server.port()},
                       {.grace = std::chrono::seconds(1)},
                       [](Communicator&) { FAIL() << "not all ranks are there"; });
    } catch (const PeerFailure& failure) {
      message = failure.what();
    }
  });
  EXPECT_THROW(run_socket_ranks(
                   {.rank = 0, .size = 3, .address = "127.0.0.1", .port = server.port()},
                   {.timeout = std::chrono::seconds(2), .grace = std::chrono::seconds(1)},
                   [](Communicator&) { FAIL() << "not all ranks are there"; }, &server),
               Error);
  other.join();
  EXPECT_THAT(message, AllOf(HasSubstr("rank 0 failed"), HasSubstr("never came: rank 2")));
}

TEST(Sockets, AContradictionIsToldToWhoComesLater) {
  SocketServer server(0, 2);
  const auto answer_to_hello = [&](int rank, int size) {
    SocketStream stream(
        SocketStream::connect("127.0.0.1", server.port(), std::chrono::milliseconds(5000), "the test"));
    stream.send({.kind = SocketMessage::Kind::kHello, .rank = rank, .size = size});
    const std::optional<SocketMessage> answer = stream.receive(1 << 20);
    return answer && answer->kind == SocketMessage::Kind::kAbort ? answer->call : "no answer";
  };
  EXPECT_THAT(answer_to_hello(1, 3), HasSubstr("rank 1 knows of 3 ranks and rank 0 of 2"));
  EXPECT_THAT(answer_to_hello(0, 2), HasSubstr("rank 1 knows of 3 ranks and rank 0 of 2"));
}

TEST(Sockets, NoServerIsAnErrorWithTheVariables) {
  const int port = SocketListener(0).port();
  try {
    run_socket_ranks({.rank = 1, .size = 2, .address = "127.0.0.1", .port = port},
                     {.connect_timeout = std::chrono::milliseconds(100)}, [](Communicator&) {});
    FAIL() << "there is no rank 0";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(port)));
  }
}

TEST(Sockets, AnyMessageIsReadBackAndNoOtherBytesAre) {
  std::mt19937 generator(7);
  const SocketMessage message{.kind = SocketMessage::Kind::kExchange,
                              .rank = 3,
                              .place = 1,
                              .size = 4,
                              .number = 77,
                              .group = "world/3.1",
                              .call = "barrier",
                              .payload = std::string("a\0b", 3)};
  const std::string bytes = message.packed();
  const SocketMessage copy = SocketMessage::unpacked(bytes);
  EXPECT_EQ(copy.packed(), bytes);
  EXPECT_EQ(copy.group, message.group);
  EXPECT_EQ(copy.payload, message.payload);
  for (size_t length = 0; length < bytes.size(); ++length)
    EXPECT_THROW(SocketMessage::unpacked(bytes.substr(0, length)), Error) << length;
  for (int round = 0; round < 20000; ++round) {
    std::string changed = bytes;
    for (int i = 0; i < 3; ++i) changed[generator() % changed.size()] = static_cast<char>(generator());
    try {
      EXPECT_EQ(SocketMessage::unpacked(changed).packed().size(), changed.size());
    } catch (const Error&) {
      // also an answer
    }
  }
}

TEST(Sockets, StrangersAreTurnedAway) {
  const int port = SocketListener(0).port();
  std::thread other([&] {
    SocketStream stranger(SocketStream::connect("127.0.0.1", port, std::chrono::seconds(10), "test"));
    stranger.send({.kind = SocketMessage::Kind::kExchange, .size = 1 << 30, .group = "world"});
    EXPECT_FALSE(stranger.receive(1 << 20).has_value());
    run_socket_ranks({.rank = 1, .size = 2, .address = "127.0.0.1", .port = port}, {},
                     [](Communicator& world) { world.barrier(); });
  });
  run_socket_ranks({.rank = 0, .size = 2, .address = "127.0.0.1", .port = port}, {},
                   [](Communicator& world) { world.barrier(); });
  other.join();
}

}  // namespace
}  // namespace megalith
