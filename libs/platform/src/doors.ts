import { applyDecorators, Catch, type RpcExceptionFilter, UseFilters } from '@nestjs/common';
import { EventPattern, MessagePattern, Server, type CustomTransportStrategy } from '@nestjs/microservices';
import { lastValueFrom, throwError, type Observable } from 'rxjs';
import type { Answer, EventContract, Question, RequestContract } from '@millrace/contracts/define';
import type { FactBatch } from './facts.ts';

/** How many facts one call of the door takes at most, in one transaction. */
export interface FactDoor {
  batch: number;
}

const TRANSPORT = Symbol('millrace');

type DoorFor<Input, Output> = <K extends string | symbol>(
  target: object,
  key: K,
  descriptor: TypedPropertyDescriptor<(input: Input) => Promise<Output>>,
) => void;

/**
 * Errors of doors reach the platform as they are; it decides about redelivery, answers and logs. Nest's own way would make each an
 * "Internal server error", and a lost connection look like a fact that cannot be used.
 */
@Catch()
class ErrorsPassThrough implements RpcExceptionFilter {
  catch(error: unknown): Observable<never> {
    return throwError(() => error);
  }
}
const passThrough = new ErrorsPassThrough();

/** A door for facts: the method gets them in order and settles them in its transaction. Does not compile on a method of another shape. */
export function OnEvent<C extends EventContract>(contract: C, options: FactDoor): DoorFor<FactBatch<C>, unknown> {
  const door = EventPattern(contract.subject, TRANSPORT, { contract, options }) as MethodDecorator;
  return applyDecorators(door, UseFilters(passThrough)) as DoorFor<FactBatch<C>, unknown>;
}

/** A door for questions: what the method resolves to is the answer. */
export function OnRequest<C extends RequestContract>(contract: C): DoorFor<Question<C>, Answer<C>> {
  const door = MessagePattern(contract.subject, TRANSPORT, { contract }) as MethodDecorator;
  return applyDecorators(door, UseFilters(passThrough)) as DoorFor<Question<C>, Answer<C>>;
}

/** What Nest found: contracts and the methods behind them, called without Nest's own wire format in between. */
export interface Doors {
  onEvent(contract: EventContract, options: FactDoor, handler: (batch: FactBatch) => Promise<unknown>): void;
  onRequest(contract: RequestContract, handler: (question: unknown) => Promise<unknown>): void;
}

/** Nest's way to our NATS: it hands each decorated method to the platform, which delivers facts and questions to it. */
export class MillraceTransport extends Server implements CustomTransportStrategy {
  override readonly transportId = TRANSPORT;

  constructor(private readonly doors: Doors) {
    super();
  }

  listen(callback: () => void): void {
    for (const handler of this.messageHandlers.values()) {
      const { contract, options } = handler.extras as { contract: EventContract | RequestContract; options?: FactDoor };
      const call = async (input: unknown): Promise<unknown> => {
        const result: unknown = await handler(input);
        return isObservable(result) ? lastValueFrom(result, { defaultValue: undefined }) : result;
      };
      if (contract.kind === 'event') this.doors.onEvent(contract, options ?? { batch: 1 }, call);
      else this.doors.onRequest(contract, call);
    }
    callback();
  }

  close(): void {
    // The platform stops consumers and connections itself, in its own order.
  }

  on(): never {
    throw new Error('the transport has no events of its own');
  }

  unwrap<T>(): T {
    return this.doors as T;
  }
}

const isObservable = (value: unknown): value is Observable<unknown> =>
  typeof (value as Observable<unknown> | undefined)?.subscribe === 'function';
