import torch
import torch.nn as nn
import torch.nn.functional as F


def fill(m, s):
    with torch.no_grad():
        for k, p in enumerate(m.parameters()):
            p.copy_(
                torch.cos(torch.arange(p.numel(), dtype=torch.float32) * 1.7 + k + s).reshape(
                    p.shape
                )
                / p.shape[-1] ** 0.5
            )


D = nn.Sequential(
    nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1)
)
G = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
fill(D, 0)
fill(G, 3)
optD = torch.optim.Adam(D.parameters(), lr=1e-2, betas=(0.0, 0.9))
optG = torch.optim.Adam(G.parameters(), lr=1e-2, betas=(0.0, 0.9))
real = torch.stack([torch.cos(torch.linspace(0, 6, 32)), torch.sin(torch.linspace(0, 6, 32))], 1)


def noise(i):
    return torch.sin(torch.arange(96.0).reshape(32, 3) * (i + 1) * 0.37)


def gradient_penalty(D, real, fake, alpha):
    inter = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    d = D(inter)
    grads = torch.autograd.grad(
        outputs=d,
        inputs=inter,
        grad_outputs=torch.ones_like(d),
        create_graph=True,
        retain_graph=True,
        only_inputs=True,
    )[0]
    return ((grads.norm(2, dim=1) - 1) ** 2).mean()


for it in range(4):
    for k in range(2):
        fake = G(noise(it * 2 + k)).detach()
        alpha = torch.linspace(0, 1, 32).unsqueeze(1)
        gp = gradient_penalty(D, real, fake, alpha)
        lossD = D(fake).mean() - D(real).mean() + 10 * gp
        optD.zero_grad()
        lossD.backward()
        optD.step()
    lossG = -D(G(noise(it))).mean()
    optG.zero_grad()
    lossG.backward()
    optG.step()
    print(f"[{it}] D: {lossD.item():.3f} G: {lossG.item():.3f} gp: {gp.item():.3f}")
print(f"{sum(p.abs().sum() for p in G.parameters()).item():.3f}")
print(optD)
print(
    {
        k: (v if not torch.is_tensor(v) else tuple(v.shape))
        for k, v in optD.state_dict()["state"][0].items()
    }
)
