import type { ObjectAnswer } from '@millrace/contracts/requests';
import { StatusError } from '@millrace/domain/status';

/** What `work` answers; a refusal that it throws as {@link StatusError} is an answer too. Every other error is the platform's to log. */
export async function answerOf(work: () => Promise<ObjectAnswer>): Promise<ObjectAnswer> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof StatusError) return { kind: 'refused', status: error.status };
    throw error;
  }
}
