import copy
import math
import torch
from torch import nn

x = torch.linspace(-2, 2, 64)[:, None]
y = x**3 - x + 0.1 * torch.sin(20 * x)


class EMA:
    def __init__(self, model, decay):
        self.decay = decay
        self.shadow = copy.deepcopy(model)
        for p in self.shadow.parameters():
            p.requires_grad_(False)

    @torch.no_grad()
    def update(self, model):
        for s, p in zip(self.shadow.parameters(), model.parameters()):
            s.mul_(self.decay).add_(p, alpha=1 - self.decay)


model = nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 1))
with torch.no_grad():
    for k, p in enumerate(model.parameters()):
        p.uniform_(-1, 1) if False else p.copy_(
            torch.cos(torch.arange(p.numel()).float() * 2.1 + k).view_as(p)
        )
ema = EMA(model, 0.9)
velocity = [torch.zeros_like(p) for p in model.parameters()]
for step in range(20):
    loss = nn.functional.mse_loss(model(x), y)
    grads = torch.autograd.grad(loss, model.parameters())
    with torch.no_grad():
        for p, g, v in zip(model.parameters(), grads, velocity):
            v.mul_(0.9).add_(g)
            p.sub_(0.02 * v)
    ema.update(model)
    if step % 5 == 4:
        print(f"{step:3d} {loss:.5f} ema {nn.functional.mse_loss(ema.shadow(x), y):.5f}")
print(all(torch.equal(a, b) for a, b in zip(model.parameters(), ema.shadow.parameters())))
# learning-rate finder
net = nn.Linear(1, 1)
nn.init.constant_(net.weight, 0.5)
nn.init.zeros_(net.bias)
saved = copy.deepcopy(net.state_dict())
opt = torch.optim.SGD(net.parameters(), lr=1e-4)
lrs, losses, best = [], [], math.inf
for it in range(30):
    opt.zero_grad()
    loss = ((net(x) - y) ** 2).mean()
    loss.backward()
    opt.step()
    lrs.append(opt.param_groups[0]["lr"])
    losses.append(loss.item())
    best = min(best, losses[-1])
    if losses[-1] > 4 * best:
        break
    opt.param_groups[0]["lr"] *= 1.6
slopes = torch.tensor(losses).log().diff()
print(len(lrs), f"{lrs[slopes.argmin().item()]:.4e}", f"{best:.4f}")
net.load_state_dict(saved)
print(net.weight, net.state_dict())
sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda e: 0.95**e)
for _ in range(3):
    opt.step()
    sched.step()
print(f"{sched.get_last_lr()[0]:.6f}")
half = model(x).half()
print(
    half.dtype,
    (half.float() + x.double()).dtype,
    (torch.arange(3) / 2).dtype,
    (torch.tensor(1) + 1.5).dtype,
    torch.ones(2, dtype=torch.int32) * 2.0,
)
print(
    (torch.tensor([1, 2], dtype=torch.uint8) + torch.tensor([250], dtype=torch.uint8)),
    torch.tensor([True, False]) + 1,
    torch.tensor(3) // 2,
    -7 // torch.tensor(2),
    torch.tensor(-7) % 3,
)
