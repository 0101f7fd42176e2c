import { All, Catch, Controller, HttpException, Req, Res, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import {
  badRequest,
  internalError,
  methodNotAllowed,
  noSuchPath,
  tooLarge,
  unsupportedMediaType,
  type Status,
} from '@millrace/domain/status';
import { FrontDoor } from './front-door.ts';

/** The one door: whatever is not health or metrics is a request in Kubernetes' protocol. */
@Controller()
export class HttpController {
  constructor(private readonly frontDoor: FrontDoor) {}

  @All('*')
  async answer(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    await this.frontDoor.answer(request, reply);
  }
}

/** What Fastify or Nest refuse before the door is reached is a Status too. */
@Catch()
export class ErrorsAsStatus implements ExceptionFilter {
  constructor(private readonly frontDoor: FrontDoor) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    this.frontDoor.refuse(http.getRequest<FastifyRequest>(), http.getResponse<FastifyReply>(), statusOf(error));
  }
}

function statusOf(error: unknown): Status {
  const code = error instanceof HttpException ? error.getStatus() : ((error as { statusCode?: number } | null)?.statusCode ?? 500);
  const message = error instanceof Error ? error.message : '';
  switch (code) {
    case 404:
      return noSuchPath();
    case 405:
      return methodNotAllowed();
    case 413:
      return tooLarge('the request body is larger than this server takes');
    case 415:
      return unsupportedMediaType(`the body of the request was in an unknown format: ${message}`);
    default:
      return code >= 400 && code < 500 ? badRequest(message) : internalError('the api could not answer; its log names the reason');
  }
}
