/** The algebra behind a pipe: the built example `algebra` of the crate, one JSON command and one JSON answer a line. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export const hex = (bytes) => Buffer.from(bytes).toString('hex');
export const unhex = (text) => new Uint8Array(Buffer.from(text, 'hex'));

export class Algebra {
  #child;
  #waiting = [];
  /** Commands that go out together: a write for each would cost more than most answers. */
  #unsent = [];
  #ended = null;

  constructor(path) {
    this.#child = spawn(path, { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#waiting.shift().resolve(JSON.parse(line)));
    this.#child.on('exit', (code, signal) => {
      this.#ended = `the algebra ended with ${code ?? signal}`;
      for (const { command, reject } of this.#waiting.splice(0)) {
        reject(new Error(`${this.#ended}; it had been asked ${JSON.stringify(command).slice(0, 2000)}`));
      }
    });
  }

  /** The answer, whatever it is. Several questions may be under way. */
  ask(command) {
    if (this.#ended) return Promise.reject(new Error(this.#ended));
    if (this.#unsent.push(`${JSON.stringify(command)}\n`) === 1) setImmediate(() => this.#send());
    return new Promise((resolve, reject) => this.#waiting.push({ command, resolve, reject }));
  }

  #send() {
    this.#child.stdin.write(this.#unsent.join(''));
    this.#unsent = [];
  }

  /** The result of a command that must succeed. */
  async must(command) {
    const answer = await this.ask(command);
    if (!('ok' in answer)) throw new Error(`${JSON.stringify(answer)} for ${JSON.stringify(command)}`);
    return answer.ok;
  }

  end() {
    this.#child.stdin.end();
  }
}
