#include "sorus/parallel/solver/combinations.h"

#include <algorithm>
#include <numeric>

#include "sorus/base/text.h"

namespace sorus::parallel {
namespace {

std::vector<int64_t> divisors(int64_t n) {
  std::vector<int64_t> low, high;
  for (int64_t d = 1; d * d <= n; ++d)
    if (n % d == 0) {
      low.push_back(d);
      if (d != n / d) high.push_back(n / d);
    }
  low.insert(low.end(), high.rbegin(), high.rend());
  return low;
}

int64_t nearest_divisor(int64_t n, int64_t wanted) {
  int64_t best = 1;
  for (int64_t d : divisors(n))
    if (std::abs(d - wanted) < std::abs(best - wanted)) best = d;
  return best;
}

std::string family(const StepConfig& c) {
  std::string s;
  auto add = [&](const char* name, int64_t size) {
    if (size > 1) s += (s.empty() ? "" : " + ") + std::string(name);
  };
  add("data", c.data), add("expert", c.expert), add("context", c.context), add("tensor", c.tensor);
  add("pipeline", c.pipeline);
  if (s.empty()) s = "one device";
  if (c.zero > 0) s += fmt::format(", ZeRO {}", c.zero);
  if (c.offload.optimizer) s += ", offload";
  return s;
}

}  // namespace

int64_t Combinations::fixed(const char* name, int64_t otherwise) const {
  auto it = request_.fix.find(name);
  return it == request_.fix.end() ? otherwise : it->second;
}
bool Combinations::allowed(const char* name, int64_t value) const {
  int64_t f = fixed(name);
  return f < 0 || f == value;
}

std::vector<Candidate> Combinations::all() const {
  std::vector<Candidate> found;
  int64_t n = request_.devices, batch = request_.batch, traced = costs_.model().batch;
  int64_t node = costs_.cluster().levels[0].count ? costs_.cluster().levels[0].count : n;
  for (int64_t tensor : divisors(n)) {
    if (!allowed("tp", tensor) || (tensor > std::max<int64_t>(node, 16) && fixed("tp") < 0)) continue;
    for (int64_t pipeline : divisors(n / tensor)) {
      if (!allowed("pp", pipeline) || pipeline > static_cast<int64_t>(chain_.units.size())) continue;
      for (int64_t context : divisors(std::gcd(costs_.tokens(), n / tensor / pipeline))) {
        int64_t data = n / tensor / pipeline / context;
        if (!allowed("cp", context) || !allowed("dp", data) || batch % data != 0) continue;
        if (context > 1 && fixed("cp") < 0 && costs_.tokens() / context < kLeastTokens) continue;
        for (int64_t expert : divisors(std::gcd(costs_.experts(), data)))
          for (int64_t micro : divisors(batch / data)) {
            if (!allowed("ep", expert)) continue;
            if (traced % micro != 0 || !allowed("micro_batch", micro)) continue;
            int64_t m = batch / data / micro;
            for (Candidate& c : variants({data, context}, tensor, pipeline, micro, m)) {
              c.config.expert = expert, c.family = family(c.config);
              found.push_back(std::move(c));
            }
          }
      }
    }
  }
  return found;
}

std::vector<Candidate> Combinations::variants(Replicas replicas, int64_t tensor, int64_t pipeline, int64_t micro,
                                              int64_t m) const {
  std::vector<Candidate> out;
  std::vector<std::pair<Schedule, int64_t>> schedules;
  if (pipeline == 1) {
    schedules = {{Schedule::none, 1}};
  } else {
    // GPipe takes as long as 1F1B and holds more: only on request.
    if (fixed("schedule") == static_cast<int64_t>(Schedule::gpipe)) schedules.push_back({Schedule::gpipe, 1});
    schedules.push_back({Schedule::one_f_one_b, 1});
    schedules.push_back({Schedule::zero_bubble, 1});
    if (m % pipeline == 0)
      for (int64_t v = 2; v <= 8 && pipeline * v <= static_cast<int64_t>(chain_.units.size()) / chain_.period; ++v)
        schedules.push_back({Schedule::interleaved, v});
  }
  for (auto [schedule, chunks] : schedules) {
    if (!allowed("chunks", chunks)) continue;
    if (pipeline > 1 && !allowed("schedule", static_cast<int64_t>(schedule))) continue;
    for (int zero = 0; zero <= (replicas.data * replicas.context > 1 ? 3 : 0); ++zero) {
      // Gradients or parameters that are split do not go with a pipeline that keeps them for the whole step.
      if (!allowed("zero", zero) || (zero >= 2 && pipeline > 1 && fixed("zero") < 0)) continue;
      for (Recompute r : {Recompute::none, Recompute::selective, Recompute::full}) {
        if (!allowed("recompute", static_cast<int64_t>(r))) continue;
        for (bool sequence : {false, true}) {
          if ((sequence && tensor == 1) || !allowed("sp", sequence)) continue;
          for (int offload = 0; offload <= (costs_.cluster().host.bandwidth > 0 ? 1 : 0); ++offload) {
            if (!allowed("offload", offload)) continue;
            Candidate c;
            c.config.data = replicas.data, c.config.context = replicas.context, c.config.tensor = tensor,
            c.config.pipeline = pipeline, c.config.chunks = chunks;
            c.config.micro_batch = micro, c.config.micro_batches = m, c.config.schedule = schedule,
            c.config.zero = zero;
            c.config.sequence = sequence, c.config.recompute = r, c.config.overlap = true;
            c.config.offload.optimizer = offload;
            c.config.overlap_tensor = request_.overlap_tensor && sequence;
            out.push_back(std::move(c));
          }
        }
      }
    }
  }
  return out;
}

std::string Combinations::contradiction() const {
  int64_t n = request_.devices;
  int64_t tp = fixed("tp", 1), pp = fixed("pp", 1), cp = fixed("cp", 1), dp = fixed("dp");
  for (auto [name, value] :
       {std::pair<const char*, int64_t>{"tp", tp}, {"pp", pp}, {"cp", cp}, {"dp", dp < 0 ? 1 : dp}})
    if (value < 1 || n % value != 0)
      return fmt::format("{} = {} does not divide the {} devices; the nearest that does is {}", name, value, n,
                         nearest_divisor(n, value));
  int64_t inside = tp * pp * cp;
  if (n % inside != 0 || (dp > 0 && dp * inside > n))
    return fmt::format("the given dimensions need {} devices, there are {}", inside * std::max<int64_t>(1, dp), n);
  bool all = dp > 0 && fixed("tp") > 0 && fixed("pp") > 0 && (fixed("cp") > 0 || costs_.tokens() < 2 * kLeastTokens);
  if (all && dp * inside != n)
    return fmt::format("dp {}{} x tp {} x pp {} are {} devices, not {}", dp,
                       cp > 1 ? fmt::format(" x cp {}", cp) : "", tp, pp, dp * inside, n);
  if (costs_.tokens() % cp != 0)
    return costs_.tokens() == 1
               ? fmt::format("cp = {}, but the model has an operator that needs all tokens of a sample at once", cp)
               : fmt::format("cp = {} does not divide the {} tokens of a sample; the nearest that does is {}", cp,
                             costs_.tokens(), nearest_divisor(costs_.tokens(), cp));
  if (int64_t ep = fixed("ep", 1); costs_.experts() % std::max<int64_t>(1, ep) != 0 || ep < 1)
    return costs_.experts() == 1 ? fmt::format("ep = {}, but the model has no experts", ep)
                                 : fmt::format("ep = {} does not divide the {} experts; the nearest that does is {}",
                                               ep, costs_.experts(), nearest_divisor(costs_.experts(), ep));
  if (int64_t ep = fixed("ep", 1); dp > 0 && dp % ep != 0)
    return fmt::format("ep = {} does not divide the {} data-parallel ranks, among which experts are dealt out", ep,
                       dp);
  if (dp > 0 && request_.batch % dp != 0)
    return fmt::format("dp = {} does not divide the batch of {}{}; the nearest that does is {}, or a batch of {}", dp,
                       request_.batch,
                       dp > request_.batch ? fmt::format(", which has {} samples too few", dp - request_.batch) : "",
                       nearest_divisor(std::gcd(n, request_.batch), dp), (request_.batch + dp - 1) / dp * dp);
  int64_t layers = static_cast<int64_t>(chain_.units.size()) / chain_.period;
  if (int64_t chunks = fixed("chunks", 1); chunks > 1 && pp > 1 && pp * chunks > layers)
    return fmt::format(
        "{} chunks on each of {} devices are {} stages, but the model has {} layers that can be told apart", chunks,
        pp, pp * chunks, layers);
  if (pp > static_cast<int64_t>(chain_.units.size()))
    return fmt::format("pp = {} stages, but the model has {} layers", pp, chain_.units.size());
  return "";
}

std::string Combinations::nearest_batch() const {
  int64_t n = request_.devices, batch = request_.batch;
  std::vector<int64_t> data;
  for (int64_t d : divisors(n))
    if (batch % d == 0) data.push_back(d);
  int64_t least = n / data.back();
  return fmt::format(
      "{} devices cannot share a batch of {}: data parallelism can be at most {} (it divides both), and the other "
      "{} devices "
      "would have to split {} layers; the nearest batch that works is {}",
      n, batch, data.back(), least, chain_.units.size(), std::max<int64_t>(n, (batch + n - 1) / n * n));
}

}  // namespace sorus::parallel
