/** Makes a failing history smaller: fewer steps, fewer changes in each, fewer clients with undo. */

/** The fault without the values in it, so that shrinking does not wander off to another one. */
export const faultOf = (error) => error.message.split(':')[0];

export async function shrink(plan, fails) {
  let smallest = plan;
  const attempt = async (candidate) => {
    if (!(await fails(candidate))) return false;
    smallest = candidate;
    return true;
  };
  for (let size = Math.ceil(plan.steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < smallest.steps.length;) {
      const steps = [...smallest.steps.slice(0, at), ...smallest.steps.slice(at + size)];
      if (!(await attempt({ ...smallest, steps }))) at += size;
    }
  }
  for (let at = 0; at < smallest.steps.length; at += 1) {
    while (smallest.steps[at].count > 1) {
      const steps = smallest.steps.map((step, index) => (index === at ? { ...step, count: step.count - 1 } : step));
      if (!(await attempt({ ...smallest, steps }))) break;
    }
  }
  for (const [at] of smallest.clients.entries()) {
    for (const change of [{ undo: false }, { gc: true }, { id: at + 1 }]) {
      const clients = smallest.clients.map((client, index) => (index === at ? { ...client, ...change } : client));
      await attempt({ ...smallest, clients });
    }
  }
  return smallest;
}
