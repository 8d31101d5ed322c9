// A host that loses its power or its network says nothing any more, not even that its processes are gone.
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/comm/communicator.h"

#include "tests/comm/run_processes.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// The only network of the calling thread and of the threads that it starts: 127.0.0.1, up or cut.
void connect_loopback(bool is_up) {
  const int descriptor = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = is_up ? IFF_UP : 0;
  const bool is_done = descriptor >= 0 && ::ioctl(descriptor, SIOCSIFFLAGS, &request) == 0;
  const std::string reason = system_message(errno);
  ::close(descriptor);
  MG_CHECK(is_done, "lo: {}", reason);
}

TEST(LostHost, IsFoundAndNamedInSeconds) {
  bool has_network = false;
  std::vector<std::string> told(3);
  std::atomic<int> num_together = 0;
  std::chrono::steady_clock::time_point cut;
  std::thread([&] {
    if (::unshare(CLONE_NEWNET) != 0) return;
    has_network = true;
    connect_loopback(true);
    const auto body = [&](Communicator& world) {
      world.barrier("together");
      ++num_together;  // the answer to the barrier has come
      if (world.rank() == 0) {
        while (num_together < 3) std::this_thread::yield();
        cut = std::chrono::steady_clock::now();
        connect_loopback(false);
      }
      try {
        // Rank 0 waits with nothing under way; what the others send is never acknowledged.
        while (world.rank() == 0 && !world.is_aborted())
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
        world.barrier("step");
      } catch (const PeerFailure& failure) {
        told[world.rank()] = failure.what();
        throw;
      }
    };
    const auto silence = std::chrono::seconds(3);
    // Rank 0 has lost the way to its own server, too.
    EXPECT_THROW(run_processes(3, 1, {.grace = silence, .silence = silence}, body), Error);
  }).join();
  if (!has_network) GTEST_SKIP() << "this user may not make a network namespace";
  EXPECT_LT(std::chrono::steady_clock::now() - cut, std::chrono::seconds(20));
  const char* reason = "was lost: its host has not answered for 3.0s";
  for (const int rank : {1, 2})
    EXPECT_THAT(told[rank],
                AllOf(HasSubstr("barrier 'step'"), HasSubstr("the connection to rank 0"), HasSubstr(reason)));
  EXPECT_THAT(told[0], AllOf(HasSubstr("the connection to rank "), HasSubstr(reason)));
}

}  // namespace
}  // namespace megalith
