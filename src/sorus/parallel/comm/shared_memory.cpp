#include "sorus/parallel/comm/shared_memory.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <numeric>
#include <thread>

#include "sorus/parallel/comm/local.h"
#include "sorus/parallel/comm/watch.h"

namespace sorus::comm {
namespace {

// What a rank says when it connects, and what it is told.
struct Hello {
  uint32_t magic;
  int32_t rank, size;
};
constexpr uint32_t kMagic = 0x50a05;
struct Welcome {
  uint32_t magic;
  int32_t accepted;  ///< 0: another rank of this number is there already, -1: the sizes differ
  int64_t handle;
};

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

// An abstract name lives in the system, not in a folder: it is gone with the last descriptor.
socklen_t address_of(const std::string& key, sockaddr_un& address) {
  std::string name = fmt::format("sorus-{}-{}", getuid(), key);
  SORUS_CHECK(name.size() + 1 < sizeof address.sun_path, ValueError, "the key '{}' of the ranks is too long", key);
  address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

void send_descriptor(int socket, const Welcome& welcome, int fd) {
  iovec data{const_cast<Welcome*>(&welcome), sizeof welcome};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data, message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control, message.msg_controllen = sizeof control;
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  }
  sendmsg(socket, &message, MSG_NOSIGNAL);
}

// The descriptor, or -1 with what was said instead.
int receive_descriptor(int socket, Welcome& welcome) {
  iovec data{&welcome, sizeof welcome};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof control;
  ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (n != static_cast<ssize_t>(sizeof welcome) || welcome.magic != kMagic) {
    welcome.accepted = 0;
    return -1;
  }
  int fd = -1;
  if (cmsghdr* c = CMSG_FIRSTHDR(&message); c && c->cmsg_type == SCM_RIGHTS)
    std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
  return fd;
}

void enter_board(Board& board, int index, int world_rank) {
  Member& m = board.member[index];
  m.world_rank = world_rank;
  m.pid.store(getpid());
  clockid_t clock{};
  clock_getcpuclockid(getpid(), &clock);
  m.clock = clock;
  if (gethostname(m.host, sizeof m.host - 1) != 0) std::strcpy(m.host, "?");
  m.state.store(Member::running);
}

using Clock = std::chrono::steady_clock;

// Rank 0: hands out the descriptor until everybody has it.
void serve(const SharedMemoryOptions& o, const sockaddr_un& address, socklen_t length, int memory, int64_t handle,
           Clock::time_point until) {
  Descriptor listener{socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  SORUS_CHECK(listener.fd >= 0, CommError, "cannot make a socket: {}", std::strerror(errno));
  SORUS_CHECK(
      bind(listener.fd, reinterpret_cast<const sockaddr*>(&address), length) == 0 && listen(listener.fd, o.size) == 0,
      CommError, "rank 0 cannot open the meeting point '{}': {}; another job uses it: choose another MASTER_PORT",
      o.key, std::strerror(errno));
  std::vector<char> here(static_cast<size_t>(o.size), 0);
  here[0] = 1;
  Blocking blocking;
  for (int missing = o.size - 1; missing > 0;) {
    pollfd p{listener.fd, POLLIN, 0};
    blocking.poll();
    if (poll(&p, 1, 50) <= 0) {
      if (Clock::now() < until) continue;
      std::string names;
      for (size_t r = 0; r < here.size(); ++r)
        if (!here[r]) names += fmt::format("{}{}", names.empty() ? "" : ", ", r);
      fail<CommError>("{} of {} ranks did not come to the meeting point '{}' within {} s: {}", missing, o.size, o.key,
                      o.join_timeout.count() / 1000, names);
    }
    Descriptor peer{accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC)};
    if (peer.fd < 0) continue;
    timeval limit{2, 0};
    setsockopt(peer.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    Hello hello{};
    if (recv(peer.fd, &hello, sizeof hello, 0) != static_cast<ssize_t>(sizeof hello) || hello.magic != kMagic)
      continue;
    Welcome welcome{kMagic, 1, handle};
    if (hello.size != o.size)
      welcome.accepted = -1;
    else if (hello.rank <= 0 || hello.rank >= o.size || here[static_cast<size_t>(hello.rank)])
      welcome.accepted = 0;
    send_descriptor(peer.fd, welcome, welcome.accepted == 1 ? memory : -1);
    SORUS_CHECK(welcome.accepted != -1, CommError, "rank {} came with a world of {} ranks, rank 0 has one of {}",
                hello.rank, hello.size, o.size);
    if (welcome.accepted == 1) here[static_cast<size_t>(hello.rank)] = 1, --missing;
  }
}

int ask(const SharedMemoryOptions& o, const sockaddr_un& address, socklen_t length, int64_t& handle,
        Clock::time_point until) {
  Blocking blocking;
  for (;;) {
    Descriptor socket_to{socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    if (connect(socket_to.fd, reinterpret_cast<const sockaddr*>(&address), length) == 0) {
      Hello hello{kMagic, o.rank, o.size};
      Welcome welcome{};
      if (::send(socket_to.fd, &hello, sizeof hello, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof hello)) {
        int fd = receive_descriptor(socket_to.fd, welcome);
        handle = welcome.handle;
        if (fd >= 0) return fd;
        SORUS_CHECK(welcome.magic != kMagic || welcome.accepted != 0, CommError,
                    "there is a rank {} at the meeting point '{}' already, or no such rank in a world of {}", o.rank,
                    o.key, o.size);
        SORUS_CHECK(welcome.accepted != -1, CommError, "rank {} has a world of {} ranks, rank 0 has another", o.rank,
                    o.size);
      }
    }
    SORUS_CHECK(Clock::now() < until, CommError,
                "rank {} found no rank 0 at the meeting point '{}' within {} s; is it started, on this machine?",
                o.rank, o.key, o.join_timeout.count() / 1000);
    blocking.poll();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace

std::shared_ptr<Communicator> join_shared_memory(const SharedMemoryOptions& o) {
  SORUS_CHECK(o.size >= 1 && o.rank >= 0 && o.rank < o.size, ValueError, "rank {} is not in a world of {}", o.rank,
              o.size);
  std::vector<int> members = o.members, index(static_cast<size_t>(o.size));
  std::iota(index.begin(), index.end(), 0);
  if (members.empty()) members = index;
  sockaddr_un address;
  socklen_t length = address_of(o.key, address);
  auto until = Clock::now() + o.join_timeout;
  std::shared_ptr<Segment> segment;
  int64_t handle = 0;
  int world_rank = members[static_cast<size_t>(o.rank)];
  if (o.rank == 0) {
    int memory = -1;
    segment = make_file_segment(o.size, &memory);
    handle = segment->reserve(local_block_bytes(o.size));
    enter_board(segment->board(), 0, world_rank);
    serve(o, address, length, memory, handle, until);
  } else {
    int memory = ask(o, address, length, handle, until);
    segment = open_file_segment(o.size, memory);
    enter_board(segment->board(), o.rank, world_rank);
  }
  auto world = join_local(segment, handle, o.rank, members, index, "world", o.options);
  world->barrier();  // all are on the board
  if (o.watch) segment->companion = watch_processes(segment->board(), o.rank);
  return world;
}

}  // namespace sorus::comm
