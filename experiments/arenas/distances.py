"""How far predicted cells are from measured ones: as clouds, gene by gene, and along the direction of the response."""

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import kurtosis, skew, wasserstein_distance
from sklearn.decomposition import PCA
from vc_eval.metrics.population import energy_distance

MEASURES = {
    "energy": "energy distance",
    "mmd": "MMD x 1000",
    "spread": "variance per gene",
    "bimodality": "bimodality",
    "shape": "shape along the response",
}
COMPONENTS = 20
LEAST_DETECTED = 0.05  # share of measured cells that show a gene whose variance is compared


class Judge:
    """Compares cells with the measured ones of one condition; all log1p CP10k.

    Args:
        real_ng: [n, g] measured perturbed cells.
        control_ng: [m, g] control cells that no model saw, of the same line.
        pca: Components that clouds are compared in.
    """

    def __init__(self, real_ng: np.ndarray, control_ng: np.ndarray, pca: PCA) -> None:
        self.real_ng, self.pca = real_ng, pca
        self.real_nk = pca.transform(real_ng)
        axis_g = real_ng.mean(axis=0) - control_ng.mean(axis=0)
        self.axis_g = axis_g / max(float(np.linalg.norm(axis_g)), 1e-12)
        self.shown_g = (real_ng > 0).mean(axis=0) >= LEAST_DETECTED

    def measures(self, cells_ng: np.ndarray) -> dict[str, float]:
        """Each of `MEASURES` for some cells; lower is nearer.

        `energy`: unbiased energy distance in the components. `mmd`: unbiased squared maximum mean discrepancy there, Gaussian
        kernel of the median distance (Gretton et al., 2012), times 1000. `spread`: mean over genes of |log ratio of standard deviations|.
        `bimodality`: difference of Sarle's coefficients of the cells projected on the measured mean effect. `shape`: first
        Wasserstein distance of these projections, each centred.
        """
        cells_nk = self.pca.transform(cells_ng)
        sd_2g = [np.log(x_ng[:, self.shown_g].std(axis=0) + 0.05) for x_ng in (cells_ng, self.real_ng)]
        mine_n, real_n = (x_ng @ self.axis_g for x_ng in (cells_ng, self.real_ng))
        return {
            "energy": energy_distance(cells_nk, self.real_nk),
            "mmd": 1000 * mmd(cells_nk, self.real_nk),
            "spread": float(np.abs(sd_2g[0] - sd_2g[1]).mean()),
            "bimodality": abs(sarle(mine_n) - sarle(real_n)),
            "shape": float(wasserstein_distance(mine_n - mine_n.mean(), real_n - real_n.mean())),
        }


def fit_components(*groups: np.ndarray) -> PCA:
    """Components of control and measured cells together, the same for every model."""
    cells_ng = np.concatenate(groups)
    return PCA(min(COMPONENTS, *cells_ng.shape), svd_solver="randomized", random_state=0).fit(cells_ng)


def mmd(a_nk: np.ndarray, b_nk: np.ndarray) -> float:
    """Unbiased squared MMD with a Gaussian kernel; its width is the median distance within the second group."""
    within = [cdist(x_nk, x_nk, "sqeuclidean") for x_nk in (a_nk, b_nk)]
    width = np.median(within[1][np.triu_indices(len(b_nk), 1)])
    kernels = [np.exp(-square / (2 * width)) for square in (*within, cdist(a_nk, b_nk, "sqeuclidean"))]
    inside = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in kernels[:2]]
    return float(sum(inside) - 2 * kernels[2].mean())


def sarle(x_n: np.ndarray) -> float:
    """Sarle's coefficient of bimodality, (skewness^2 + 1) / kurtosis, for a finite sample: 5/9 is uniform, 1/3 Gaussian."""
    n = len(x_n)
    return float(
        (skew(x_n, bias=False) ** 2 + 1) / (kurtosis(x_n, bias=False) + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))
    )
