"""Distributions with given parameters: logarithms of densities, moments, entropies, divergences; see peers.py."""

import math


def numbers(torch, *values):
    return torch.tensor(values, dtype=torch.float64)


def ask(torch, d, value, *names):
    """What is asked for, and the gradient of the log_prob by the value where it is continuous."""
    value = value.clone()
    if "grad" in names:
        value.requires_grad_()
    log = d.log_prob(value)
    out = {"log_prob": log, "batch": str(tuple(d.batch_shape)), "event": str(tuple(d.event_shape))}
    if "grad" in names:
        log.sum().backward()
        out["grad"] = value.grad
    for name in names:
        if name in ("cdf", "icdf"):
            out[name] = getattr(d, name)(value.detach())
        elif name == "entropy":
            out[name] = d.entropy()
        elif name != "grad":
            out[name] = getattr(d, name)
    assert d.sample((3, 2)).shape == (3, 2, *d.batch_shape, *d.event_shape)
    return out


MOMENTS = ("mean", "variance", "mode", "entropy", "grad")


def case_continuous(torch):
    D, n = torch.distributions, lambda *v: numbers(torch, *v)
    a, b, x = n(0.7, 1.5, 3.2), n(1.3, 0.4, 2.0), n(0.3, 0.8, 2.5)
    share = n(0.2, 0.5, 0.9)
    return {
        "normal": ask(torch, D.Normal(a, b), x, *MOMENTS, "cdf"),
        "normal_icdf": D.Normal(a, b).icdf(share),
        "laplace": ask(torch, D.Laplace(a, b), x, *MOMENTS, "cdf"),
        "laplace_icdf": D.Laplace(a, b).icdf(share),
        "uniform": ask(torch, D.Uniform(a * 0, a + 3), x, "mean", "variance", "entropy", "cdf"),
        "exponential": ask(torch, D.Exponential(b), x, "mean", "variance", "entropy", "cdf", "grad"),
        "exponential_icdf": D.Exponential(b).icdf(share),
        "gamma": ask(torch, D.Gamma(a, b), x, *MOMENTS, "cdf"),
        "chi2": ask(torch, D.Chi2(a), x, *MOMENTS),
        "inverse_gamma": ask(torch, D.InverseGamma(a, b), x, *MOMENTS),
        "beta": ask(torch, D.Beta(a + 1, b + 1), share, *MOMENTS),
        "studentt": ask(torch, D.StudentT(a, b, b), x, *MOMENTS),
        "fisher": ask(torch, D.FisherSnedecor(a + 4, b + 4), x, "mean", "variance", "mode", "grad"),
        "cauchy": ask(torch, D.Cauchy(a, b), x, "entropy", "cdf", "grad"),
        "gumbel": ask(torch, D.Gumbel(a, b), x, *MOMENTS, "cdf"),
        "half_normal": ask(torch, D.HalfNormal(b), x, *MOMENTS, "cdf"),
        "half_cauchy": ask(torch, D.HalfCauchy(b), x, "entropy", "cdf", "grad"),
        "pareto": ask(torch, D.Pareto(b * 0.1, a), x, "mean", "variance", "mode", "entropy", "cdf"),
        "weibull": ask(torch, D.Weibull(b, a), x, "mean", "variance", "entropy", "cdf", "grad"),
        "kumaraswamy": ask(torch, D.Kumaraswamy(a, b), share, "mean", "variance", "entropy", "grad"),
        "log_normal": ask(torch, D.LogNormal(a, b), x, *MOMENTS, "cdf"),
        "expanded": ask(torch, D.Gamma(a, b).expand((2, 3)), x, "mean"),
        "von_mises": ask(torch, D.VonMises(a, b), x, "mean", "variance", "mode", "grad"),
    }


def case_discrete(torch):
    D, n = torch.distributions, lambda *v: numbers(torch, *v)
    p, k = n(0.2, 0.5, 0.9), n(0.0, 1.0, 2.0)
    logits = torch.stack([p, p * 2, -p], -1)
    return {
        "bernoulli": ask(torch, D.Bernoulli(p), n(0.0, 1.0, 1.0), "mean", "variance", "entropy"),
        "categorical": ask(torch, D.Categorical(logits=logits), torch.tensor([0, 2, 1]), "mode", "entropy"),
        "binomial": ask(torch, D.Binomial(5, p), k, "mean", "variance", "mode", "entropy"),
        "binomial_logits": ask(torch, D.Binomial(torch.tensor([3.0, 4.0, 5.0]), logits=p), k, "mean", "variance"),
        "geometric": ask(torch, D.Geometric(p), k, "mean", "variance", "mode", "entropy"),
        "poisson": ask(torch, D.Poisson(p * 4), k, "mean", "variance", "mode"),
        "negative_binomial": ask(torch, D.NegativeBinomial(4, p), k, "mean", "variance", "mode"),
        "multinomial": ask(
            torch,
            D.Multinomial(3, logits=logits),
            torch.stack([k, 2 - k, k * 0 + 1], -1),
            "mean",
            "variance",
            "entropy",
        ),
        "one_hot": ask(
            torch,
            D.OneHotCategorical(logits=logits),
            torch.eye(3, dtype=torch.float64),
            "mean",
            "variance",
            "mode",
            "entropy",
        ),
        "relaxed_bernoulli": D.RelaxedBernoulli(torch.tensor(0.7), p).log_prob(n(0.1, 0.4, 0.8)),
        "relaxed_one_hot": D.RelaxedOneHotCategorical(torch.tensor(0.7), logits=logits).log_prob(
            torch.softmax(logits * 2, -1)
        ),
    }


def matrix(torch, n):
    m = torch.sin(torch.arange(n * n, dtype=torch.float64)).reshape(n, n)
    return m @ m.T + torch.eye(n, dtype=torch.float64)


def case_vectors(torch):
    D, n = torch.distributions, lambda *v: numbers(torch, *v)
    loc, x, cov = n(0.1, -0.4, 0.8), torch.stack([n(0.3, 0.2, -1.0), n(1.0, 0.0, 0.5)]), matrix(torch, 3)
    share = torch.softmax(x, -1)
    mixture = D.MixtureSameFamily(D.Categorical(share), D.Normal(x, x.exp()))
    vectors = D.MixtureSameFamily(D.Categorical(share[:, :2]), D.Independent(D.Normal(
        torch.stack([x, -x], 1), torch.ones(2, 2, 3, dtype=torch.float64)), 1))  # fmt: skip
    low = D.LowRankMultivariateNormal(loc, cov[:, :1], x[0].exp())
    tanh = D.TransformedDistribution(D.Normal(loc, x[0].exp()), [D.TanhTransform(), D.AffineTransform(0.5, -2.0)])
    logistic = D.TransformedDistribution(
        D.Uniform(n(0.0), n(1.0)), [D.SigmoidTransform().inv, D.AffineTransform(loc, 2.0)]
    )
    shares = D.TransformedDistribution(D.Normal(loc[:2], x[0, :2].exp()), D.StickBreakingTransform())
    return {
        "covariance": ask(torch, D.MultivariateNormal(loc, cov), x, *MOMENTS),
        "precision": ask(torch, D.MultivariateNormal(loc, precision_matrix=cov), x, "covariance_matrix", "grad"),
        "tril": ask(torch, D.MultivariateNormal(x, scale_tril=cov.tril()), x + 1, *MOMENTS),
        "low_rank": ask(torch, low, x, "mean", "variance", "entropy", "covariance_matrix", "grad"),
        "dirichlet": ask(torch, D.Dirichlet(x.exp() + 0.5), share, "mean", "variance", "mode", "entropy", "grad"),
        "mixture": ask(torch, mixture, n(0.1, 0.7), "mean", "variance", "cdf", "grad"),
        "mixture_of_vectors": ask(torch, vectors, x, "mean", "variance", "grad"),
        "independent": ask(torch, D.Independent(D.Normal(x, x.exp()), 1), x * 0, "mean", "variance", "entropy"),
        "tanh": ask(torch, tanh, n(0.1, 1.5, 2.2), "cdf", "grad"),
        "logistic": ask(torch, logistic, n(0.1, 1.5, 2.2), "cdf", "grad"),
        "shares": ask(torch, shares, n(0.2, 0.5, 0.3), "grad"),
        "logistic_normal": ask(torch, D.LogisticNormal(loc, x[0].exp()), n(0.2, 0.3, 0.1, 0.4)),
    }


def case_matrices(torch):
    D, n, cov = torch.distributions, lambda *v: numbers(torch, *v), matrix(torch, 3)
    wishart = D.Wishart(n(3.5, 7.0), cov)
    factor = torch.linalg.cholesky(cov / (cov.diagonal().sqrt().unsqueeze(-1) * cov.diagonal().sqrt()))
    return {
        "wishart": ask(torch, wishart, torch.stack([cov, matrix(torch, 3) * 2]), *MOMENTS),
        "wishart_precision": ask(torch, D.Wishart(n(4.0), precision_matrix=cov), cov, "mean", "entropy"),
        "lkj": ask(torch, D.LKJCholesky(3, n(0.5, 1.0, 4.0)), factor, "grad"),
        "lkj_of_two": ask(torch, D.LKJCholesky(2, n(2.0)), factor[:2, :2]),
    }


def told(f):
    """What an error says, without the name of the library and the numbers it shows."""
    try:
        f()
    except ValueError as error:
        return (
            str(error).split("but found")[0].split("of distribution")[0].replace("torch.", "").replace("sorus.", "")
        )
    return "no error"


def case_checks(torch):
    D, n = torch.distributions, lambda *v: numbers(torch, *v)
    normal = D.Normal(n(0.0, 1.0), 1.0)
    calls = {
        "scale": lambda: D.Normal(n(0.0, 1.0), n(1.0, -1.0)),
        "not_told": lambda: D.Normal(n(0.0, 1.0), n(1.0, -1.0), validate_args=False),
        "nan": lambda: D.Normal(n(math.nan), n(1.0)),
        "probs": lambda: D.Bernoulli(n(0.5, 1.5)),
        "shares": lambda: D.Categorical(n(-0.1, 1.1)),
        "logits": lambda: D.Categorical(logits=n(0.0, math.nan)),
        "count": lambda: D.Binomial(n(2.5), n(0.5)),
        "concentration": lambda: D.Dirichlet(n(1.0, 0.0)),
        "covariance": lambda: D.MultivariateNormal(n(0.0, 0.0), n(1.0, 2.0, 2.0, 1.0).reshape(2, 2)),
        "factor": lambda: D.MultivariateNormal(n(0.0, 0.0), scale_tril=n(1.0, 2.0, 0.0, 1.0).reshape(2, 2)),
        "events": lambda: D.Dirichlet(n(1.0, 2.0)).log_prob(n(0.2, 0.3, 0.5)),
        "batch": lambda: normal.log_prob(n(1.0, 2.0, 3.0)),
        "class": lambda: D.Categorical(n(0.5, 0.5)).log_prob(torch.tensor(2)),
        "half": lambda: D.Poisson(n(2.0)).log_prob(n(0.5)),
        "negative": lambda: D.Gamma(n(2.0), n(1.0)).log_prob(n(-1.0)),
        "cdf": lambda: D.Exponential(n(2.0)).cdf(n(-1.0)),
        "simplex": lambda: D.Dirichlet(n(1.0, 2.0)).log_prob(n(0.4, 0.3)),
        "transformed": lambda: D.LogNormal(n(0.0), n(1.0)).log_prob(n(-1.0)),
        "tanh": lambda: D.TransformedDistribution(normal, [D.TanhTransform()]).log_prob(n(0.5, 1.5)),
        "inside": lambda: D.Independent(D.Uniform(n(0.0, 0.0), 1.0), 1).log_prob(n(0.5, 0.7)),
        "outside": lambda: D.Independent(D.Uniform(n(0.0, 0.0), 1.0), 1).log_prob(n(0.5, 1.7)),
    }
    # The spelling of a bound inside of the brackets is each library's own.
    return {name: told(f).split("constraint")[0].split("support (")[0] for name, f in calls.items()}


def case_divergences(torch):
    D, n = torch.distributions, lambda *v: numbers(torch, *v)
    a, b, c, d = n(0.7, 1.5, 3.2), n(1.3, 0.4, 2.0), n(0.3, 0.8, 2.5), n(1.1, 0.9, 0.2)
    p, q, cov = n(0.2, 0.5, 0.9), n(0.6, 0.1, 0.3), matrix(torch, 3)
    pairs = {
        "normal": (D.Normal(a, b), D.Normal(c, d)),
        "half_normal": (D.HalfNormal(a), D.HalfNormal(b)),
        "log_normal": (D.LogNormal(a, b), D.LogNormal(c, d)),
        "laplace": (D.Laplace(a, b), D.Laplace(c, d)),
        "gamma": (D.Gamma(a, b), D.Gamma(c, d)),
        "beta": (D.Beta(a, b), D.Beta(c, d)),
        "exponential": (D.Exponential(a), D.Exponential(b)),
        "cauchy": (D.Cauchy(a, b), D.Cauchy(c, d)),
        "gumbel": (D.Gumbel(a, b), D.Gumbel(c, d)),
        "uniform": (D.Uniform(a, a + b), D.Uniform(a - c, a + b + d)),
        "bernoulli": (D.Bernoulli(p), D.Bernoulli(q)),
        "binomial": (D.Binomial(4, p), D.Binomial(4, q)),
        "geometric": (D.Geometric(p), D.Geometric(q)),
        "poisson": (D.Poisson(a), D.Poisson(b)),
        "categorical": (D.Categorical(p), D.Categorical(q)),
        "one_hot": (D.OneHotCategorical(p), D.OneHotCategorical(q)),
        "dirichlet": (D.Dirichlet(a), D.Dirichlet(b)),
        "multivariate": (D.MultivariateNormal(a, cov), D.MultivariateNormal(b, cov + torch.eye(3, dtype=cov.dtype))),
        "independent": (D.Independent(D.Normal(a, b), 1), D.Independent(D.Normal(c, d), 1)),
    }
    return {name: D.kl_divergence(*pair) for name, pair in pairs.items()}
