import torch
from torch import nn
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(1, 10)
        self.fc2 = nn.Linear(10, 1)
        with torch.no_grad():
            for k, p in enumerate(self.parameters()):
                p.copy_(torch.sin(torch.arange(p.numel()) * 1.3 + k).view(p.shape) * 0.7)

    def forward(self, x, params=None):
        params = dict(self.named_parameters()) if params is None else params
        h = torch.tanh(F.linear(x, params["fc1.weight"], params["fc1.bias"]))
        return F.linear(h, params["fc2.weight"], params["fc2.bias"])


net = Net()
meta = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
sched = torch.optim.lr_scheduler.StepLR(meta, step_size=2, gamma=0.5)
tasks = [(1.0, 0.0), (0.5, 1.0), (2.0, -0.5)]
for step in range(4):
    meta.zero_grad()
    total = 0.0
    for amp, phase in tasks:
        xs = torch.linspace(-3, 3, 10).unsqueeze(-1)
        ys = amp * torch.sin(xs + phase)
        xq = torch.linspace(-2.5, 2.5, 7)[:, None]
        yq = amp * torch.sin(xq + phase)
        params = {n: p for n, p in net.named_parameters()}
        for _ in range(2):
            loss = F.mse_loss(net(xs, params), ys)
            grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
            params = {n: p - 0.1 * g for (n, p), g in zip(params.items(), grads)}
        q = F.mse_loss(net(xq, params), yq)
        q.backward()
        total += q.item()
    norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    meta.step()
    sched.step()
    print(f"step {step}: meta loss {total:.6f}  |g| {norm:.6f}  lr {sched.get_last_lr()}")
for n, p in net.named_parameters():
    print(n, p.data.flatten()[:3])
print(torch.get_default_dtype(), net.fc1)
