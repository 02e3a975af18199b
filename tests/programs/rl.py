import torch
import torch.nn as nn
from torch.nn import functional as F

policy = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
value = nn.Linear(4, 1)
with torch.no_grad():
    for k, p in enumerate([*policy.parameters(), *value.parameters()]):
        p.copy_((torch.arange(p.numel()).float().add(k).sin() * 0.4).reshape_as(p))
opt = torch.optim.RMSprop(
    [{"params": policy.parameters()}, {"params": value.parameters(), "lr": 0.02}], lr=0.01
)
T = 12
states = torch.sin(torch.outer(torch.arange(T).float(), torch.tensor([0.3, 0.7, 1.1, 1.9])))
actions = torch.arange(T) % 3
rewards = [1.0 if a == 1 else -0.5 for a in actions.tolist()]


def returns(rewards, gamma=0.9):
    R, out = 0.0, []
    for r in rewards[::-1]:
        R = r + gamma * R
        out.insert(0, R)
    out = torch.tensor(out)
    return (out - out.mean()) / (out.std() + 1e-8)


for ep in range(5):
    logits = policy(states)
    logp = F.log_softmax(logits, dim=-1)
    chosen = logp.gather(1, actions.unsqueeze(1)).squeeze(1)
    ent = -(logp.exp() * logp).sum(-1).mean()
    R = returns(rewards)
    V = value(states).squeeze(-1)
    adv = (R - V).detach()
    ratio = (chosen - chosen.detach()).exp()
    surr = torch.min(ratio * adv, torch.clamp(ratio, 0.8, 1.2) * adv)
    loss = -surr.mean() + 0.5 * F.smooth_l1_loss(V, R) - 0.01 * ent
    opt.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy.parameters(), 0.5)
    opt.step()
    print(f"ep {ep} loss {loss:.4f} entropy {ent:.4f} adv {adv.mean():+.4f}±{adv.std():.4f}")
probs = policy(states).softmax(-1)
print(probs[:3])
print(probs.argmax(-1), probs.max(dim=1))
