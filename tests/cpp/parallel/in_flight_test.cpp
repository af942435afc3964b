// How long messages may lie with their sender.
#include "sorus/parallel/partition/in_flight.h"

#include <gtest/gtest.h>

#include "sorus/base/error.h"

namespace sorus::parallel {
namespace {

using Kind = Action::Kind;

Program program(std::vector<std::tuple<Kind, int, int, int>> actions) {  // kind, slot, micro-batch, peer
  Program p;
  p.micro_batches = 2;
  for (int slot = 0; slot < 3; ++slot) p.slots.push_back({{DType::f32, {4}, false}, true, 4 * slot});
  for (auto [kind, slot, micro, peer] : actions) {
    Action a{};
    a.kind = kind, a.what = slot, a.micro_batch = micro, a.peer = peer;
    p.actions.push_back(a);
  }
  return p;
}

template <class... P>
std::vector<Program> all(P... each) {
  std::vector<Program> programs;
  (programs.push_back(std::move(each)), ...);
  return programs;
}

TEST(InFlight, WhatComesBackLaterTellsThatAMessageWasTaken) {
  Program first =
      program({{Kind::send, 0, 0, 1}, {Kind::send, 0, 1, 1}, {Kind::receive, 1, 0, 1}, {Kind::run, 0, 0, -1}});
  Program second = program({{Kind::receive, 0, 0, 0}, {Kind::send, 1, 0, 0}, {Kind::receive, 0, 1, 0}});
  std::vector<Program> programs = all(std::move(first), std::move(second));
  EXPECT_EQ(taken_by(programs, 0), (std::vector<int>{3, 4, -1, -1}));
  EXPECT_EQ(taken_by(programs, 1), (std::vector<int>{-1, 3, -1}));
}

TEST(InFlight, AThirdRankTellsAsWell) {
  Program first = program({{Kind::send, 0, 0, 1}, {Kind::receive, 2, 0, 2}, {Kind::run, 0, 0, -1}});
  Program second = program({{Kind::receive, 0, 0, 0}, {Kind::send, 1, 0, 2}});
  Program third = program({{Kind::receive, 1, 0, 1}, {Kind::send, 2, 0, 0}});
  EXPECT_EQ(taken_by(all(std::move(first), std::move(second), std::move(third)), 0), (std::vector<int>{2, -1, -1}));
}

TEST(InFlight, AMessageThatNobodySendsIsAnError) {
  Program first = program({{Kind::receive, 0, 0, 1}}), second = program({{Kind::send, 0, 1, 0}});
  std::vector<Program> programs = all(std::move(first), std::move(second));
  EXPECT_THROW(taken_by(programs, 0), Error);
}

}  // namespace
}  // namespace sorus::parallel
